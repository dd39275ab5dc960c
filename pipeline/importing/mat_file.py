"""What is asked of a MAT file, of either kind, and what can be wrong with one.

Of a file of several gigabytes only what is asked for is held: a few fields of a struct, or the cells of a cell array one by one.
"""

from collections.abc import Collection, Iterator
from typing import Protocol

import numpy as np

Value = list[str] | np.ndarray
"""A cell array of texts, or an array with MATLAB's own shape (rows, columns)."""

MOST_VALUE_BYTES = 2**26
"""Of one array or text. The longest recording of VoxCeleb1 (145 s) has 605 pictures, 19 kB of logits; the sets of all wavs are
1.2 MB."""


class MatProblem(Exception):
    """The file is damaged, or not of the asked shape; the message says what was found."""


class MatFile(Protocol):
    """An open file."""

    variables: tuple[str, ...]
    """Names of what is at the top of the file."""

    def struct(self, variable: str, fields: Collection[str]) -> dict[str, Value]:
        """Some fields of a struct; those that it lacks are left out. Raises MatProblem."""
        ...

    def cells(self, variable: str) -> Iterator[np.ndarray]:
        """The numeric arrays of a cell array, in order; (0, 0) for an empty cell. Raises MatProblem."""
        ...

    def close(self) -> None: ...


def require_size(size_bytes: int) -> None:
    if size_bytes > MOST_VALUE_BYTES:
        raise MatProblem(f"one value of {size_bytes} bytes, where {MOST_VALUE_BYTES} are the most")


def require_cell_array(shape: tuple[int, ...], variable: str) -> int:
    """The number of cells of a row or column of them."""
    count = int(np.prod(shape, dtype=np.int64))
    if len(shape) != 2 or (count and 1 not in shape):
        raise MatProblem(f"{variable} is {' x '.join(map(str, shape))} cells and no row of them")
    return count
