"""MAT files of version 5 (`save -v6`; `save -v7`, compressed) as streams: what nobody asks for is passed over.

SciPy's loadmat leaves out variables, but not fields of a struct. The format is "MAT-File Level 5" of MathWorks' "MAT-File
Format": a header of 128 bytes, then elements, each a tag (type, bytes) and its data; a matrix is an element made of elements.
"""

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from pipeline.importing.mat_file import MatProblem, Value, require_cell_array, require_size

HEADER_BYTES = 128
MATRIX, COMPRESSED = 14, 15
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""Type of an element -> NumPy's; whatever class an array has, it may be stored as a smaller type that holds its values."""
TEXTS = {1: "ascii", 2: "utf-8", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
CELL, STRUCT, CHAR, SPARSE = 1, 2, 4, 5
NUMERIC = dict(zip(range(6, 16), "f8 f4 i1 u1 i2 u2 i4 u4 i8 u8".split(), strict=True))
"""Class of an array -> NumPy's type."""
OPAQUE = 17
"""MATLAB's own objects, whose elements have another order."""
COMPLEX_FLAG = 0x0800
CHUNK_BYTES = 2**16


class Mat5File:
    """An open file. Raises MatProblem for one that is no such file, or is cut short."""

    def __init__(self, path: str):
        self.file = open(path, "rb")  # noqa: SIM115 (close() closes it)
        try:
            self.order = _byte_order(self.file.read(HEADER_BYTES))
            self.places = {place.name: place for place in self._places(os.path.getsize(path)) if place.name}
        except BaseException:
            self.file.close()
            raise
        self.variables = tuple(self.places)

    def close(self) -> None:
        self.file.close()

    def struct(self, variable: str, fields: Collection[str]) -> dict[str, Value]:
        found: dict[str, Value] = {}
        with self._opened(variable) as (elements, matrix):
            if matrix.kind != STRUCT or matrix.shape != (1, 1):
                raise MatProblem(f"{variable} is no struct of one element")
            for name in elements.field_names():
                if name in fields:
                    found[name] = elements.value(f"{variable}.{name}")
                else:
                    elements.skip_matrix()
        return found

    def cells(self, variable: str) -> Iterator[np.ndarray]:
        with self._opened(variable) as (elements, matrix):
            if matrix.kind != CELL:
                raise MatProblem(f"{variable} is no cell array")
            for number in range(require_cell_array(matrix.shape, variable)):
                what = f"{variable}{{{number + 1}}}"
                yield elements.numbers(elements.matrix(), what)

    def _places(self, file_bytes: int) -> Iterator["_Place"]:
        """Each variable's place; reads no more than their names. The last one's end shows whether the file is whole."""
        at = HEADER_BYTES
        while at < file_bytes:
            self.file.seek(at)
            tag = self.file.read(8)
            kind, size = struct.unpack(self.order + "II", tag) if len(tag) == 8 else (0, file_bytes)
            place = _Place("", at, 8 + size, kind == COMPRESSED)
            if place.end > file_bytes:
                raise MatProblem(f"it is cut short: {file_bytes} bytes of at least {place.end}")
            if kind not in (MATRIX, COMPRESSED):
                raise MatProblem(f"an element of type {kind} at byte {at}")
            with self._elements(place) as elements:
                yield _Place(elements.matrix().name, at, place.size, place.compressed)
            at = place.end

    @contextlib.contextmanager
    def _opened(self, variable: str) -> Generator[tuple["_Elements", "_Matrix"]]:
        """The variable behind its head. What is left at the end is read through, which compares zlib's checksum."""
        with self._elements(self.places[variable]) as elements:
            matrix = elements.matrix()
            yield elements, matrix
            elements.pass_over(matrix.end)
            elements.drain()

    @contextlib.contextmanager
    def _elements(self, place: "_Place") -> Generator["_Elements"]:
        self.file.seek(place.at + (8 if place.compressed else 0))
        size = place.size - (8 if place.compressed else 0)
        source = io.BufferedReader(_Inflated(self.file, size), CHUNK_BYTES) if place.compressed else self.file
        try:
            yield _Elements(source, self.order, None if place.compressed else size)
        except (zlib.error, struct.error, UnicodeDecodeError, ValueError) as error:
            raise MatProblem(f"it is damaged ({error})") from error


@dataclass(frozen=True)
class _Place:
    """A variable in the file: first byte, and bytes with the tag."""

    name: str
    at: int
    size: int
    compressed: bool

    @property
    def end(self) -> int:
        return self.at + self.size


@dataclass(frozen=True)
class _Matrix:
    """The head of a matrix. kind: its class, None for an empty one without a head; end: where its data ends."""

    kind: int | None
    shape: tuple[int, ...]
    name: str
    end: int
    is_complex: bool = False


def _byte_order(header: bytes) -> str:
    order = {b"IM": "<", b"MI": ">"}.get(header[126:128])
    if order is None or struct.unpack(order + "H", header[124:126]) != (0x0100,):
        raise MatProblem("it is no MAT file of version 5 or 7.3")
    return order


class _Inflated(io.RawIOBase):
    """The bytes of a compressed element; `size`: of what is compressed."""

    def __init__(self, file: BinaryIO, size: int):
        self.file, self.left = file, size
        self.inflater = zlib.decompressobj()
        self.waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self.inflater.eof:
            if not self.waiting:
                self.waiting = self.file.read(min(CHUNK_BYTES, self.left))
                self.left -= len(self.waiting)
                if not self.waiting:
                    raise MatProblem("it is damaged (a compressed variable ends early)")
            data = self.inflater.decompress(self.waiting, len(buffer))
            self.waiting = self.inflater.unconsumed_tail
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0


class _Elements:
    """Reads elements one behind the other. size: bytes of the outermost element, if they are known."""

    def __init__(self, source: BinaryIO | io.BufferedReader, order: str, size: int | None):
        self.source, self.order, self.at = source, order, 0
        self.can_seek = size is not None
        self.size = size
        self.tag_of = struct.Struct(order + "II")

    def read(self, size: int) -> bytes:
        data = self.source.read(size)
        if len(data) != size:
            raise MatProblem("it is damaged (an element ends early)")
        self.at += size
        return data

    def pass_over(self, end: int) -> None:
        """Goes on at `end`."""
        if end < self.at or (self.size is not None and end > self.size):
            raise MatProblem("it is damaged (an element is longer than what holds it)")
        if self.can_seek:
            self.source.seek(end - self.at, os.SEEK_CUR)
            self.at = end
        while self.at < end:
            self.read(min(CHUNK_BYTES, end - self.at))

    def drain(self) -> None:
        if not self.can_seek and self.source.read(1):
            raise MatProblem("it is damaged (bytes behind a variable)")

    def element(self) -> tuple[int, bytes]:
        """Type and data of an element that is no matrix; of up to 4 bytes, they may stand in the tag itself."""
        kind, size = self.tag_of.unpack(tag := self.read(8))
        if kind >> 16:
            size = kind >> 16
            if size > 4:
                raise MatProblem(f"it is damaged (a short element of {size} bytes)")
            return kind & 0xFFFF, tag[4 : 4 + size]
        require_size(size)
        data = self.read(size)
        self.read(-size % 8)
        return kind, data

    def matrix(self) -> _Matrix:
        """The head of the matrix that begins here."""
        kind, size = self.tag_of.unpack(self.read(8))
        end = self.at + size
        if kind != MATRIX:
            raise MatProblem(f"it is damaged (an element of type {kind} where a matrix should be)")
        if not size:
            return _Matrix(None, (0, 0), "", end)
        flags = int.from_bytes(self.element()[1][:4], "little" if self.order == "<" else "big")
        if flags & 0xFF == OPAQUE:
            return _Matrix(OPAQUE, (), "", end)
        kind, shape = self.element()
        if kind != 5:
            raise MatProblem(f"it is damaged (dimensions of type {kind})")
        name = self.element()[1].decode("latin-1")
        shape = tuple(np.frombuffer(shape, self.order + "i4").tolist())
        return _Matrix(flags & 0xFF, shape, name, end, bool(flags & COMPLEX_FLAG))

    def skip_matrix(self) -> None:
        kind, size = self.tag_of.unpack(self.read(8))
        if kind != MATRIX:
            raise MatProblem(f"it is damaged (an element of type {kind} where a matrix should be)")
        self.pass_over(self.at + size)

    def field_names(self) -> list[str]:
        """Of a struct whose head was read."""
        length = int.from_bytes(self.element()[1], "little" if self.order == "<" else "big")
        names = self.element()[1]
        if length < 1 or len(names) % length:
            raise MatProblem("it is damaged (names of fields)")
        return [names[k : k + length].partition(b"\0")[0].decode() for k in range(0, len(names), length)]

    def value(self, what: str) -> Value:
        """A cell array of texts, or numbers."""
        matrix = self.matrix()
        if matrix.kind != CELL:
            return self.numbers(matrix, what)
        return [self.text(f"{what}{{{k + 1}}}") for k in range(require_cell_array(matrix.shape, what))]

    def numbers(self, matrix: _Matrix, what: str) -> np.ndarray:
        """The data of a matrix whose head was read."""
        if matrix.kind is None:
            return np.zeros((0, 0), np.float32)
        if matrix.kind not in NUMERIC or matrix.is_complex or len(matrix.shape) != 2:
            raise MatProblem(f"{what} is no matrix of real numbers")
        kind, data = self.element()
        if kind not in NUMBERS:
            raise MatProblem(f"{what} is stored as type {kind}")
        values = np.frombuffer(data, self.order + NUMBERS[kind]).reshape(matrix.shape, order="F")
        self.pass_over(matrix.end)
        return values.astype(NUMERIC[matrix.kind])

    def text(self, what: str) -> str:
        """A row of characters."""
        matrix = self.matrix()
        if matrix.kind is None:
            return ""
        if matrix.kind != CHAR or len(matrix.shape) != 2 or matrix.shape[0] > 1:
            raise MatProblem(f"{what} is no text")
        kind, data = self.element()
        self.pass_over(matrix.end)
        if kind not in TEXTS:
            raise MatProblem(f"{what} is stored as type {kind}")
        wide = ("-le" if self.order == "<" else "-be") if TEXTS[kind] in ("utf-16", "utf-32") else ""
        return data.decode(TEXTS[kind] + wide)
