"""A hash of what an Arrow array says, whatever the way it lies in memory or was stored."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def hash_array(update: Callable[[Any], None], array: pa.Array) -> None:
    """Gives `update` validity and values, with values under null set to zero: Arrow leaves them undefined."""
    update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_string(array.type):
        texts = array.fill_null("").cast(pa.large_string())
        update(pc.utf8_length(texts).to_numpy().astype(np.int64).tobytes())
        _hash_content(update, texts)
    elif pa.types.is_binary(array.type):
        update(pc.binary_length(array).fill_null(0).to_numpy().astype(np.int64).tobytes())
        _hash_content(update, array.fill_null(b"").cast(pa.large_binary()))
    elif pa.types.is_list(array.type):
        update(pc.list_value_length(array).fill_null(0).to_numpy().tobytes())
        hash_array(update, array.flatten())
    elif pa.types.is_struct(array.type):
        for child in array.flatten():
            hash_array(update, child)
    else:
        update(array.fill_null(pa.scalar(0).cast(array.type)).to_numpy(zero_copy_only=False).tobytes())


def _hash_content(update: Callable[[Any], None], array: pa.Array) -> None:
    """Of large strings or binaries without nulls: their bytes, one after another."""
    _, offsets, content = array.buffers()
    ends = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    if content is not None and len(ends):
        update(content.slice(ends[0], ends[-1] - ends[0]))
