"""Sends arrays from one process to another, in memory that both map.

An utterance's frames take tens of megabytes, and allocating and freeing their pages costs the kernel more than copying into
them: 75 MB took 63 ms of CPU time in fresh memory and 24 ms in reused memory. So the sender keeps its buffers, and the
receiver tells it which of them no array refers to any longer. An array may be kept for any length of time; its buffer is not
reused before. (Arrays in a process that the receiver forks do not count.)
"""

import errno
import itertools
import math
import mmap
import os
import socket
import struct
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

KEPT_BYTES = 128 * 2**20
"""Larger buffers are not reused: a rare long utterance should not hold its memory forever. (VoxCeleb's 8 s take 25 MB in
360p, 95 MB in 720p.)"""

KEPT_FREE = 2
"""Free buffers that are kept. A receiver that works on one result while the next is made gives one back at a time."""

HEAD = struct.Struct("!qq")  # number of the buffer, bytes in use
UNKEPT = -1
FIRST_BYTES = 2**20


@dataclass(frozen=True)
class Place:
    """Where an array is in its buffer. dtype: numpy's name of it."""

    start: int
    shape: tuple[int, ...]
    dtype: str

    def of(self, memory: mmap.mmap) -> np.ndarray:
        return np.frombuffer(memory, self.dtype, math.prod(self.shape), self.start).reshape(self.shape)


class SharedBuffers:
    """The sender's end. Arrays are copied into a buffer one by one, as they are made, and then sent together.

    most_bytes: limit of one message; more raises MemoryError.
    """

    def __init__(self, most_bytes: int | None = None):
        self.most_bytes = most_bytes
        self._free: list[int] = []
        self._buffers: dict[int, _Buffer] = {}
        self._numbers = itertools.count()
        self._number: int | None = None  # of the buffer that is being filled
        self._laid: dict[int, tuple[np.ndarray, Place]] = {}  # by id, of its arrays

    def take_back(self, numbers: Iterable[int]) -> None:
        """Makes the buffers with these numbers, from `SharedArrays.released`, available again."""
        self._free += numbers
        while len(self._free) > KEPT_FREE:
            self._buffers.pop(self._free.pop(0)).close()

    def begin(self) -> None:
        """Starts a message."""
        self.drop()
        if self._number is None:
            number = self._free.pop() if self._free else next(self._numbers)
            self._buffers[number] = self._buffers.get(number) or _Buffer()
            self._number = number
        self._filling()[1].used = 0

    def drop(self) -> None:
        """Discards arrays that were copied but not sent."""
        self._laid.clear()
        if self._number is not None and self._buffers[self._number].is_large():
            self._buffers.pop(self._number).close()
            self._number = None

    def lay(self, array: np.ndarray) -> np.ndarray:
        """Copies an array into the buffer, after the earlier ones. Returns the copy."""
        _, buffer = self._filling()
        if self.most_bytes is not None and buffer.used + array.nbytes > self.most_bytes:
            raise MemoryError
        place = buffer.lay(array)
        laid = place.of(buffer.memory)
        self._laid[id(laid)] = laid, place
        return laid

    def place(self, array: np.ndarray) -> Place:
        """Where the receiver finds an array that `lay` returned."""
        return self._laid[id(array)][1]

    def send(self, connection: socket.socket) -> None:
        """Sends the buffer; this end must no longer use its arrays."""
        number, buffer = self._filling()
        told = UNKEPT if buffer.is_large() else number
        socket.send_fds(connection, [HEAD.pack(told, buffer.used)], [buffer.file.fileno()])
        self._laid.clear()
        if told == UNKEPT:
            del self._buffers[number]
            buffer.close()
        self._number = None

    def _filling(self) -> "tuple[int, _Buffer]":
        """The number of the current message's buffer, and the buffer."""
        assert self._number is not None, "begin() a message first"
        return self._number, self._buffers[self._number]


class SharedArrays:
    """The receiver's end."""

    def __init__(self):
        self._released: list[int] = []

    def released(self) -> list[int]:
        """Numbers of the buffers whose last array here has gone since the last call."""
        return [self._released.pop() for _ in range(len(self._released))]

    def receive(self, connection: socket.socket, places: Sequence[Place]) -> list[np.ndarray]:
        """The sent arrays, as views of the shared memory. Raises EOFError if the other end has closed."""
        data, descriptors, _, _ = socket.recv_fds(connection, HEAD.size, 1, socket.MSG_WAITALL)
        if not data:
            raise EOFError
        number, used = HEAD.unpack(data)
        with os.fdopen(descriptors[0], "rb") as file:
            memory = mmap.mmap(
                file.fileno(), max(1, used), flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
            )
        if number != UNKEPT:  # the arrays hold `memory`, which is freed with the last of them
            weakref.finalize(memory, self._released.append, number).atexit = False
        return [place.of(memory) for place in places]


class _Buffer:
    """A nameless file, in memory if the system has such files (Linux), and its bytes, of which `used` are in use."""

    def __init__(self):
        self.file = _nameless_file()
        self.used = 0
        self._grow(FIRST_BYTES)

    def close(self) -> None:
        del self.memory
        self.file.close()

    def is_large(self) -> bool:
        return len(self.memory) > KEPT_BYTES

    def lay(self, array: np.ndarray) -> Place:
        start = -(-self.used // array.itemsize) * array.itemsize
        if len(self.memory) < start + array.nbytes:
            doubled = 2 * len(self.memory)
            self._grow(max(start + array.nbytes, doubled if self.is_large() else min(doubled, KEPT_BYTES)))
        self.used = start + array.nbytes
        place = Place(start, array.shape, array.dtype.str)
        np.copyto(place.of(self.memory), array)
        return place

    def _grow(self, size: int) -> None:
        """Enlarges the file. Earlier arrays keep their mapping, which is of the same memory."""
        try:
            os.ftruncate(self.file.fileno(), size)
            self.memory = mmap.mmap(self.file.fileno(), size)
        except OSError as error:
            if error.errno != errno.ENOMEM:
                raise
            raise MemoryError from error


def _nameless_file() -> BinaryIO:
    return os.fdopen(os.memfd_create("emovox"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()
