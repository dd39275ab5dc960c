"""Decoding in a child process with a deadline: a video that crashes or hangs the native decoder costs itself alone.

The child is a bare `python -c` that imports only what decodes: no torch, no ray, and not the caller's main module,
which multiprocessing's spawn would import again. It ends with its parent: the kernel kills it on Linux; elsewhere it
reads the end of the socket, or its own alarm ends a decoder that hangs.
"""

from collections.abc import Iterator
from typing import Any, BinaryIO, Self, overload

import numpy as np

from pipeline.decoding import messages
from pipeline.decoding.child_process import ChildDied, ChildOverdue, ChildProcess
from pipeline.decoding.deadline import Deadline
from pipeline.decoding.requests import (
    DecodedUtterance,
    LengthRequest,
    NativeSpeechRequest,
    Request,
    SpeechRequest,
    StreamRequest,
)
from pipeline.rejects import Rejected, RejectReason

MEMORY_BYTES = 4 * 2**30
"""What the child may allocate: 1550 frames of 1280 x 720, 6 minutes of one utterance (VoxCeleb's longest is 145 s). The
modules take 70 MB and decoding 3 s of 720p 120 MB with its frames, so the rest is the frames of the utterance."""

DEADLINE = Deadline()


class IsolatedDecoder:
    """Decodes one request after another in a child process. `submit` does not wait; `result` does, so the caller can
    work on one utterance while the child decodes the next.

    The child is replaced after `max_requests`, because decoders leak memory, and whenever it has died. A request that
    crashes it is tried once more in a new child, so that memory spoilt by an earlier video is not held against this
    one; so is one that needs more memory than `memory_bytes` in a child which has served others. On Linux the child
    also ends with the thread that called `submit`; that costs a restart, nothing else.
    """

    def __init__(
        self,
        deadline: Deadline = DEADLINE,
        max_requests: int = 500,
        memory_bytes: int = MEMORY_BYTES,
    ):
        self.deadline = deadline
        self.max_requests = max_requests
        self.memory_bytes = memory_bytes
        self._child: ChildProcess | None = None
        self._request: Request | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def child_pid(self) -> int | None:
        return self._child and self._child.process.pid

    def close(self) -> None:
        """Ends the child; a request in work is dropped."""
        self._drop_child()
        self._request = None

    def start(self) -> None:
        """Starts the child before there is a request: it needs a moment to get ready."""
        self._started()

    def submit(self, request: Request) -> None:
        """Starts the work. The result of the request before must have been fetched."""
        assert self._request is None, "fetch result() before the next submit()"
        if self._child is not None and (self._child.requests >= self.max_requests or not self._child.is_alive()):
            self._drop_child()
        self._request = request
        self._started().send(request, self.deadline)

    def result(self) -> DecodedUtterance:
        """The frames and speech of the `DecodeRequest`. Raises Rejected: what the decoder found, an error that nobody
        foresaw, DECODER_CRASHED, DECODER_TIMEOUT or DECODER_OUT_OF_MEMORY."""
        utterance = self._answer()
        assert isinstance(utterance, DecodedUtterance)
        return utterance

    @overload
    def ask(self, request: SpeechRequest | NativeSpeechRequest) -> np.ndarray: ...

    @overload
    def ask(self, request: LengthRequest, far_file: BinaryIO | None = None) -> float | None: ...

    def ask(self, request: Request, far_file: BinaryIO | None = None) -> object:
        """Submits, waits and gives the answer. far_file: what the caller reads for a `LengthRequest` of a remote file. Raises
        Rejected as `result`."""
        self.submit(request)
        return self._answer(far_file)

    def stream(self, path: str) -> Iterator[np.ndarray]:
        """The sound of a whole file, int16 pieces in order. Raises Rejected as `result`."""
        self.submit(StreamRequest(path=path))
        for kind, reply in self._replies():
            if kind == messages.PIECE:
                yield reply
            elif kind == messages.ERROR:
                raise reply

    def _answer(self, far_file: BinaryIO | None = None) -> object:
        kind, reply = list(self._replies(far_file))[-1]
        if kind == messages.ERROR:
            raise reply
        return reply

    def _replies(self, far_file: BinaryIO | None = None) -> Iterator[tuple[str, Any]]:
        """The pieces and last the answer to the request in work; where the child dies of it, by a second one."""
        request, child = self._request, self._child
        assert request is not None and child is not None, "submit() a request before result()"
        given = 0
        try:
            try:
                for kind, reply in child.replies(far_file):
                    if child.requests > 1 and _is_out_of_memory(reply):
                        raise ChildDied
                    given += len(reply) if kind == messages.PIECE else 0
                    yield kind, reply
            except ChildDied:
                self._drop_child()
                child = self._started()
                child.send(request, self.deadline)
                yield from _behind(given, child.replies(far_file))
        except BaseException as error:
            self._drop_child()
            if isinstance(error, ChildDied):
                overdue = isinstance(error, ChildOverdue)
                reason = RejectReason.DECODER_TIMEOUT if overdue else RejectReason.DECODER_CRASHED
                raise Rejected(reason, str(error)) from None
            raise
        finally:
            self._request = None

    def _started(self) -> ChildProcess:
        if self._child is None:
            self._child = ChildProcess(self.memory_bytes)
        return self._child

    def _drop_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


def _behind(samples: int, replies: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The replies without the first `samples` of their pieces."""
    for kind, reply in replies:
        passed = min(samples, len(reply)) if kind == messages.PIECE else 0
        samples -= passed
        yield kind, reply[passed:] if passed else reply


def _is_out_of_memory(reply: object) -> bool:
    return isinstance(reply, Rejected) and reply.reason == RejectReason.DECODER_OUT_OF_MEMORY
