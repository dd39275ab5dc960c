"""Objects and arrays over a socket: objects as a 4-byte length and a pickle, arrays as their bare bytes."""

import pickle
import socket
import struct

import numpy as np

LENGTH = struct.Struct("!I")


def send(connection: socket.socket, message: object) -> None:
    data = pickle.dumps(message)
    connection.sendall(LENGTH.pack(len(data)) + data)


def receive(connection: socket.socket) -> object:
    """Raises EOFError where the other end has closed."""
    length = bytearray(LENGTH.size)
    _fill(connection, memoryview(length))
    data = bytearray(LENGTH.unpack(length)[0])
    _fill(connection, memoryview(data))
    return pickle.loads(data)


def send_array(connection: socket.socket, array: np.ndarray) -> None:
    if array.size:
        connection.sendall(memoryview(np.ascontiguousarray(array)).cast("B"))


def receive_array(connection: socket.socket, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """The array that `send_array` sent, read straight into its own memory. Raises EOFError as `receive` does."""
    array = np.empty(shape, dtype)
    if array.size:
        _fill(connection, memoryview(array).cast("B"))
    return array


def can_send(message: object) -> bool:
    """Whether the object comes out of a pickle at the other end."""
    try:
        pickle.loads(pickle.dumps(message))
    except Exception:
        return False
    return True


def _fill(connection: socket.socket, view: memoryview) -> None:
    while view:
        count = connection.recv_into(view, 0, socket.MSG_WAITALL)
        if count == 0:
            raise EOFError
        view = view[count:]
