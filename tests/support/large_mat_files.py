"""Files of logits at the size of the real one: 153,352 wavs, five million pictures. They are written piece by piece.

Version 5 holds each of the five million paths, as MATLAB's `save -v7` would; 7.3 as many references, which share their texts, for
HDF5 takes minutes to make five million datasets. The reader follows none of them.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

WAVS = 153_352
PICTURES = 5_078_961 - 1217
"""Less those without a track: fetch_emovoxceleb_imdb.m."""
PATHS_AT_ONCE = 100_000
LEAST_PICTURES, OTHER_LENGTHS = 17, 33


def name_of(number: int) -> str:
    return f"id{10001 + number // 123:05d}/video{number // 7:06d}/{number:05d}.wav"


def set_of(number: int) -> int:
    """Speakers from 1000 on are unheard."""
    return 2 if number // 123 >= 1000 else 3 if number % 40 == 0 else 1


def logits_of(number: int) -> np.ndarray:
    """logits_NE by a formula; about 33 rows, as the real ones have on average."""
    pictures = LEAST_PICTURES + number % OTHER_LENGTHS
    grid = np.arange(pictures * 8, dtype=np.float32).reshape(pictures, 8)
    return np.float32(number % 1000) + grid / 512


def write_large_mat5(path: Path) -> None:
    names = [_matrix(4, (1, len(name)), _element(4, name.encode("utf-16-le"))) for name in map(name_of, range(WAVS))]
    sets = _element(9, np.array([set_of(k) for k in range(WAVS)], "<f8").tobytes())
    fields = {
        "name": [_matrix_head(1, (1, WAVS), sum(map(len, names))), *names],
        "set": [_matrix(6, (1, WAVS), sets)],
        "denseFrames": _paths(),
        "denseFramesWavIds": [_matrix(7, (PICTURES, 1), _element(7, np.zeros(PICTURES, "<f4").tobytes()))],
    }
    path_bytes = len(next(iter(_picture_elements(0, 1))))
    sizes = [sum(map(len, fields["name"])), len(fields["set"][0]), 0, len(fields["denseFramesWavIds"][0])]
    sizes[2] = len(_matrix_head(1, (PICTURES, 1), 0)) + PICTURES * path_bytes
    heads = _element(5, struct.pack("<i", 32)) + _element(
        1, b"".join(name.encode().ljust(32, b"\0") for name in fields)
    )
    with open(path, "wb") as file:
        file.write(b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x01IM")
        images = (piece for pieces in fields.values() for piece in pieces)
        _write_compressed(file, _matrix_head(2, (1, 1), len(heads) + sum(sizes), "images") + heads, images)
        counts = [LEAST_PICTURES + k % OTHER_LENGTHS for k in range(WAVS)]
        cells_bytes = sum(len(_matrix_head(7, (1, 8), 0)) + 8 + 32 * count for count in counts)
        cells = (
            _matrix(7, logits.shape, _element(7, logits.tobytes(order="F"))) for logits in map(logits_of, range(WAVS))
        )
        _write_compressed(file, _matrix_head(1, (1, WAVS), cells_bytes, "wavLogits"), cells)


def _write_compressed(file: BinaryIO, head: bytes, pieces: Iterator[bytes]) -> None:
    at, packer = file.tell(), zlib.compressobj(1)
    file.write(bytes(8) + packer.compress(head))
    file.writelines(packer.compress(piece) for piece in pieces)
    file.write(packer.flush())
    end = file.tell()
    file.seek(at)
    file.write(struct.pack("<II", 15, end - at - 8))
    file.seek(end)


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def _matrix_head(kind: int, shape: tuple[int, int], data_bytes: int, name: str = "") -> bytes:
    head = (
        _element(6, struct.pack("<II", kind, 0)) + _element(5, struct.pack("<ii", *shape)) + _element(1, name.encode())
    )
    return struct.pack("<II", 14, len(head) + data_bytes) + head


def _matrix(kind: int, shape: tuple[int, int], data: bytes) -> bytes:
    return _matrix_head(kind, shape, len(data)) + data


def _picture(number: int) -> str:
    return f"A.J._Buckley/1.6/Y8hIVOBuels/{number // 40:06d}/{number % 40:02d}.jpg"


def _picture_elements(start: int, end: int) -> Iterator[bytes]:
    for number in range(start, end):
        yield _matrix(4, (1, len(_picture(number))), _element(4, _picture(number).encode("utf-16-le")))


def _paths() -> Iterator[bytes]:
    """A hundred thousand different paths, again and again: five million would take minutes to format."""
    chunk = b"".join(_picture_elements(0, PATHS_AT_ONCE))
    one = len(chunk) // PATHS_AT_ONCE
    yield _matrix_head(1, (PICTURES, 1), PICTURES * one)
    for start in range(0, PICTURES, PATHS_AT_ONCE):
        yield chunk[: one * min(PATHS_AT_ONCE, PICTURES - start)]


def write_large_mat73(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")
        names = np.empty(WAVS, h5py.ref_dtype)
        logits = np.empty(WAVS, h5py.ref_dtype)
        for number in range(WAVS):
            text = np.frombuffer(name_of(number).encode("utf-16-le"), np.uint16)[:, None]
            names[number] = refs.create_dataset(f"n{number}", data=text).ref
            logits[number] = refs.create_dataset(f"l{number}", data=logits_of(number).T).ref
        file["images/name"] = names[:, None]
        file["images/set"] = np.array([float(set_of(k)) for k in range(WAVS)])[:, None]
        file["images/denseFrames"] = np.resize(names, PICTURES)[None]
        file["images/denseFramesWavIds"] = np.zeros((1, PICTURES), np.float32)
        file["wavLogits"] = logits[:, None]


WRITERS = {"version 5": write_large_mat5, "version 7.3": write_large_mat73}
