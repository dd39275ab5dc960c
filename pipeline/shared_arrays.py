"""Arrays from one process to another, in memory that both map.

An utterance's frames are tens of megabytes, and finding, clearing and taking back pages costs the kernel more than it costs
to copy into them: 75 MB took 63 ms of CPU time in fresh memory and 24 ms in memory that had been used before. So the
sender keeps its buffers, and the receiver tells which of them nothing looks into any more. An array can be kept for as
long as one likes: then its buffer is not used again. (A process that the receiver forks does not count as one that looks.)
"""

import itertools
import math
import mmap
import os
import socket
import struct
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from typing import BinaryIO

import numpy as np

KEPT_BYTES = 128 * 2**20
"""Larger buffers are not used again: a rare long utterance should not hold its memory for ever. (VoxCeleb's 8 s in 360p
are 25 MB, in 720p 95.)"""

KEPT_FREE = 2
"""Buffers that wait to be used again. A receiver that looks at one result while the next is made gives one back at a time."""

NUMBER = struct.Struct("!q")
UNKEPT = -1


class SharedBuffers:
    """The sender's end."""

    def __init__(self):
        self._free: list[int] = []
        self._buffers: dict[int, _Buffer] = {}
        self._numbers = itertools.count()

    def take_back(self, numbers: Iterable[int]) -> None:
        """The buffers of these numbers may be used again; as `SharedArrays.released` gives them."""
        self._free += numbers
        while len(self._free) > KEPT_FREE:
            self._buffers.pop(self._free.pop(0)).close()

    def send(self, connection: socket.socket, arrays: Sequence[np.ndarray]) -> None:
        """Lays the arrays one behind the other in a buffer and sends its descriptor."""
        size = sum(array.nbytes for array in arrays)
        if size > KEPT_BYTES:
            number, buffer = UNKEPT, _Buffer()
        elif self._free:
            number = self._free.pop()
            buffer = self._buffers[number]
        else:
            number = next(self._numbers)
            buffer = self._buffers[number] = _Buffer()
        buffer.fill(arrays, size)
        socket.send_fds(connection, [NUMBER.pack(number)], [buffer.file.fileno()])
        if number == UNKEPT:
            buffer.close()


class SharedArrays:
    """The receiver's end."""

    def __init__(self):
        self._released: list[int] = []

    def released(self) -> list[int]:
        """Numbers of the buffers that nothing here has looked into since the last call."""
        return [self._released.pop() for _ in range(len(self._released))]

    def receive(
        self, connection: socket.socket, shapes: Sequence[tuple[int, ...]], kinds: Sequence[type]
    ) -> list[np.ndarray]:
        """The arrays that were sent, where they lie. Raises EOFError where the other end has closed."""
        data, descriptors, _, _ = socket.recv_fds(connection, NUMBER.size, 1, socket.MSG_WAITALL)
        if not data:
            raise EOFError
        (number,) = NUMBER.unpack(data)
        sizes = [math.prod(shape) for shape in shapes]
        total = sum(size * np.dtype(kind).itemsize for size, kind in zip(sizes, kinds, strict=True))
        with os.fdopen(descriptors[0], "rb") as file:
            memory = mmap.mmap(
                file.fileno(), max(1, total), flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE
            )
        if number != UNKEPT:  # the arrays hold `memory`; it goes with the last of them
            weakref.finalize(memory, self._released.append, number).atexit = False
        arrays, start = [], 0
        for size, shape, kind in zip(sizes, shapes, kinds, strict=True):
            arrays.append(np.frombuffer(memory, kind, size, start).reshape(shape))
            start += arrays[-1].nbytes
        return arrays


class _Buffer:
    """A file without a name, in memory where the system has such files (Linux), and its bytes."""

    def __init__(self):
        self.file = _nameless_file()
        self.memory: mmap.mmap | None = None

    def close(self) -> None:
        self.memory = None
        self.file.close()

    def fill(self, arrays: Sequence[np.ndarray], size: int) -> None:
        if self.memory is None or len(self.memory) < size:
            self.memory = None
            os.ftruncate(self.file.fileno(), max(1, size))
            self.memory = mmap.mmap(self.file.fileno(), max(1, size))
        start = 0
        for array in filter(np.size, arrays):
            place = np.frombuffer(self.memory, array.dtype, array.size, start).reshape(array.shape)
            np.copyto(place, array)
            start += array.nbytes


def _nameless_file() -> BinaryIO:
    return os.fdopen(os.memfd_create("emovox"), "w+b") if hasattr(os, "memfd_create") else tempfile.TemporaryFile()
