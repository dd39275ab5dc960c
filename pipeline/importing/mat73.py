"""MAT files of version 7.3 (`save -v7.3`), which are HDF5: arrays are transposed, and a cell holds references to its values."""

import contextlib
from collections.abc import Collection, Generator, Iterator
from typing import Any

import h5py
import numpy as np

from pipeline.importing.mat_file import MatProblem, Value, require_cell_array, require_size

CACHE_BYTES = 2**20


def is_hdf5(path: str) -> bool:
    return bool(h5py.is_hdf5(path))


@contextlib.contextmanager
def _explained(what: str) -> Generator[None]:
    """h5py's errors for a file that is cut or damaged."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise MatProblem(f"{what} cannot be read, it is cut short or damaged ({said[:160]})") from error


def _bound_cache(file: h5py.File) -> None:
    """HDF5 keeps the heads of the objects that were opened, up to 32 MiB as they are in the file, which are 600 MB in memory."""
    config = file.id.get_mdc_config()
    config.set_initial_size = True
    config.initial_size = config.min_size = config.max_size = CACHE_BYTES
    file.id.set_mdc_config(config)


class Mat73File:
    """An open file. Raises MatProblem for one that is cut short."""

    def __init__(self, path: str):
        with _explained("it"):
            self.file = h5py.File(path, "r")
            _bound_cache(self.file)
            self.variables: tuple[str, ...] = tuple(name for name in map(str, self.file) if not name.startswith("#"))

    def close(self) -> None:
        self.file.close()

    def struct(self, variable: str, fields: Collection[str]) -> dict[str, Value]:
        with _explained(variable):
            group = self.file[variable]
            if not isinstance(group, h5py.Group):
                raise MatProblem(f"{variable} is no struct of one element")
            return {name: self._value(group[name], f"{variable}.{name}") for name in fields if name in group}

    def cells(self, variable: str) -> Iterator[np.ndarray]:
        with _explained(variable):
            found = self.file[variable]
        for number, cell in enumerate(self._references(found, variable), 1):
            what = f"{variable}{{{number}}}"
            with _explained(what):
                yield np.zeros((0, 0), np.float32) if cell is None else _numbers(cell, what)

    def _value(self, found: Any, what: str) -> Value:
        if isinstance(found, h5py.Dataset) and found.dtype == h5py.ref_dtype:
            cells = self._references(found, what)
            return ["" if cell is None else _text(cell, f"{what}{{{k}}}") for k, cell in enumerate(cells, 1)]
        return _numbers(found, what)

    def _references(self, found: Any, what: str) -> Iterator[Any]:
        """What the cells of a row or column of them refer to; None for an empty reference."""
        with _explained(what):
            if not isinstance(found, h5py.Dataset) or found.dtype != h5py.ref_dtype:
                raise MatProblem(f"{what} is no cell array")
            require_cell_array(found.shape, what)
            references = found[()].ravel()
        for reference in references:
            with _explained(what):
                cell = self.file[reference] if reference else None
            yield cell


def _numbers(found: Any, what: str) -> np.ndarray:
    if not isinstance(found, h5py.Dataset) or found.dtype.kind not in "fiu":
        raise MatProblem(f"{what} is no matrix of real numbers")
    if _is_empty(found):
        return np.zeros((0, 0), np.float32)
    if len(found.shape) != 2:
        raise MatProblem(f"{what} has {len(found.shape)} dimensions and no rows and columns")
    require_size(found.size * found.dtype.itemsize)
    return found[()].T


def _is_empty(found: Any) -> bool:
    """MATLAB marks an empty array, of which it stores the dimensions alone."""
    return found.size == 0 or (found.size <= 4 and bool(found.attrs.get("MATLAB_empty", 0)))


def _text(found: Any, what: str) -> str:
    if not isinstance(found, h5py.Dataset) or found.dtype.kind != "u" or (found.size and 1 not in found.shape):
        raise MatProblem(f"{what} is no text")
    if _is_empty(found):
        return ""
    require_size(found.size * found.dtype.itemsize)
    return found[()].ravel().astype("<u2").tobytes().decode("utf-16-le")
