"""Reads the model.bin of CTranslate2, the form that faster-whisper uses: named tensors and aliases, binary version 6.

The form is written by `ctranslate2/specs/model_spec.py` (`ModelSpec._serialize`), little-endian: version, name of the
model's kind, its revision; a count of tensors, each with its name, shape, type, size and content; a count of aliases,
each with its name and the tensor that it stands for.
"""

import math
import struct
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

VERSION = 6
TYPES: dict[int, np.dtype] = {  # ctranslate2/specs/model_spec.py, _dtype_to_type_id
    0: np.dtype("<f4"),
    1: np.dtype("<i1"),
    2: np.dtype("<i2"),
    3: np.dtype("<i4"),
    4: np.dtype("<f2"),
}
MOST_DIMENSIONS = 8


class _Bytes:
    """A reader of numbers and strings that never goes beyond the end."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise ValueError(f"cut short: it ends after {len(self.data):,} bytes, within what it announces")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, kind: str) -> int:
        return int(struct.unpack("<" + kind, self.take(struct.calcsize(kind)))[0])

    def string(self) -> str:
        return self.take(self.number("H")).rstrip(b"\0").decode("utf-8")


def is_ctranslate2(data: bytes) -> bool:
    """Whether the bytes begin as a model of this version: its number and a name of letters."""
    return data[:4] == struct.pack("<I", VERSION) and data[6:12].isalpha()


def read_ctranslate2(data: bytes) -> dict[str, Tensor]:
    """The tensors by name, as they are stored. Raises ValueError for another form, a cut file, and bytes behind the end."""
    source = _Bytes(data)
    if (version := source.number("I")) != VERSION:
        raise ValueError(f"not a CTranslate2 model of version {VERSION} (it begins with {version})")
    kind, _ = source.string(), source.number("I")
    if kind != "WhisperSpec":
        raise ValueError(f"a CTranslate2 model of the kind {kind}; give one of WhisperSpec")
    tensors = dict(_tensors(source))
    for _ in range(source.number("I")):
        source.string()  # aliases are of the decoder
        source.string()
    if source.at != len(data):
        raise ValueError(
            f"{len(data) - source.at:,} bytes behind the end of the model; it is not the file as published"
        )
    return tensors


def _tensors(source: _Bytes) -> Iterator[tuple[str, Tensor]]:
    for _ in range(source.number("I")):
        name, dimensions = source.string(), source.number("B")
        if dimensions > MOST_DIMENSIONS:
            raise ValueError(f"damaged: {name} has {dimensions} dimensions")
        shape = tuple(source.number("I") for _ in range(dimensions))
        kind, size = source.number("B"), source.number("I")
        content = source.take(size)
        if kind not in TYPES or math.prod(shape) * TYPES[kind].itemsize != size:
            raise ValueError(f"damaged: {name} has shape {shape}, type {kind} and {size:,} bytes, which do not fit")
        yield name, torch.from_numpy(np.frombuffer(content, TYPES[kind]).reshape(shape).copy())
