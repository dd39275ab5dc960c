"""Damage to the bytes of a file, drawn by a seed: what disks, networks, editors and people who mean harm do to media."""

from collections.abc import Callable

import numpy as np

HEAD_BYTES = 4096
"""Most of a container's claims stand at its beginning, or at its end."""

EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""What numbers of a header are replaced by."""


def mutated(data: bytes, seed: int, other: bytes = b"") -> bytes:
    """One to four kinds of damage. other: a file whose bytes may come in."""
    rng = np.random.default_rng(seed)
    found = bytearray(data)
    for kind in rng.choice(len(KINDS), rng.integers(1, 5)):
        if found:
            found = KINDS[kind](found, rng, other)
    return bytes(found)


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """Anywhere; as often near the beginning or the end."""
    size = len(data)
    where = rng.integers(3)
    if where == 0:
        return int(rng.integers(size))
    near = int(rng.integers(min(size, HEAD_BYTES)))
    return near if where == 1 else size - 1 - near


def _bits(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    for _ in range(int(rng.integers(1, 40))):
        data[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return data


def _numbers(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    for _ in range(int(rng.integers(1, 4))):
        at, size = _place(data, rng), int(rng.choice([1, 2, 4, 8]))
        value = int(rng.choice(EXTREMES)) * (1 if size < 8 else 2**32 + 1) % 256**size
        data[at : at + size] = value.to_bytes(size, "big" if rng.integers(2) else "little")[: len(data) - at]
    return data


def _noise(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    at, size = _place(data, rng), int(rng.integers(1, 2000))
    data[at : at + size] = rng.bytes(min(size, len(data) - at))
    return data


def _zeros(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    at, size = _place(data, rng), int(rng.integers(1, 5000))
    data[at : at + size] = bytes(min(size, len(data) - at))
    return data


def _cut(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    at = _place(data, rng)
    return data[:at] if rng.integers(4) else data[at:]


def _lost(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    at = _place(data, rng)
    del data[at : at + int(rng.integers(1, 3000))]
    return data


def _twice(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    at, size = _place(data, rng), int(rng.integers(1, 20_000))
    return data[: at + size] + data[at:]


def _joined(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    return data + (other if rng.integers(2) else data)


def _crossed(data: bytearray, rng: np.random.Generator, other: bytes) -> bytearray:
    return data[: _place(data, rng)] + other[int(rng.integers(len(other) or 1)) :]


KINDS: tuple[Callable[[bytearray, np.random.Generator, bytes], bytearray], ...] = (
    *(_bits, _numbers, _noise, _zeros, _cut, _lost, _twice, _joined, _crossed),
)
