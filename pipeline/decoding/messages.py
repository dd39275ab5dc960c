"""Objects over a local socket, as a 4-byte length and a pickle. Arrays go another way: `pipeline/decoding/shared_arrays.py`."""

import pickle
import socket
import struct
from typing import Any

LENGTH = struct.Struct("!I")

SPAN = "span"  # the seconds of media for which the child wants time
RANGE = "range"  # start and size of the bytes that it wants of a file that the caller reads
PIECE = "piece"  # samples of a stream, int16
VALUE = "value"  # the answer
ARRAYS = "arrays"  # the answer, whose arrays follow in shared memory, and the seconds of work
ERROR = "error"  # the answer: an exception


def send(connection: socket.socket, message: object) -> None:
    data = pickle.dumps(message)
    connection.sendall(LENGTH.pack(len(data)) + data)


def receive(connection: socket.socket) -> Any:
    """Raises EOFError where the other end has closed."""
    length = bytearray(LENGTH.size)
    _fill(connection, memoryview(length))
    data = bytearray(LENGTH.unpack(length)[0])
    _fill(connection, memoryview(data))
    return pickle.loads(data)


def can_send(message: object) -> bool:
    """Whether the object comes out of a pickle at the other end."""
    try:
        pickle.loads(pickle.dumps(message))
    except Exception:  # noqa: BLE001 (a class of its own may raise anything)
        return False
    return True


def _fill(connection: socket.socket, view: memoryview) -> None:
    while view:
        count = connection.recv_into(view, 0, socket.MSG_WAITALL)
        if count == 0:
            raise EOFError
        view = view[count:]
