"""Decoding in a child process with a deadline: a video that crashes or hangs the native decoder costs itself alone.

The child is a bare `python -c` that imports only what decodes: no torch, no ray, and not the caller's main module,
which multiprocessing's spawn would import again. It ends with its parent: the kernel kills it on Linux; elsewhere it
reads the end of the socket, or its own alarm ends a decoder that hangs.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from cluster.failures import UserError
from cluster.huge_pages import LARGE_PAGES
from pipeline.decoding import messages
from pipeline.decoding.shared_arrays import SharedArrays
from pipeline.media.frames import SampledFrames
from pipeline.rejects import Rejected, RejectReason

MEMORY_BYTES = 4 * 2**30
"""What the child may allocate: 1550 frames of 1280 x 720, 6 minutes of one utterance (VoxCeleb's longest is 145 s). The
modules take 70 MB and decoding 3 s of 720p 120 MB with its frames, so the rest is the frames of the utterance."""

LONGEST_LOOK_S = 1.0
PAUSE_S = 1.0
"""A look at the decoder that took so much longer than it should was a pause of this process (a stopped container, a suspended
laptop), in which the decoder stood still too: such time counts for no deadline."""

CHILD_COMMAND = "from pipeline.decoding.child import serve; serve()"


@dataclass(frozen=True, kw_only=True)
class DecodeRequest:
    """One span [start_s, end_s) to decode; end_s None is the end of the file. `speech` False leaves the sound out."""

    video_path: str
    audio_path: str
    start_s: float
    end_s: float | None
    longest_side_px: int | None = 1280
    decoder: str = "pyav"
    pictures_per_s: float | None = None
    speech: bool = True


@dataclass(frozen=True)
class DecodedUtterance:
    """`speech`: int16 (n,) at 16 kHz, or None where it was not asked for. `decode_s`: seconds of work in the child."""

    frames: SampledFrames
    speech: np.ndarray | None
    decode_s: float


@dataclass(frozen=True)
class Deadline:
    """Time to wait for one utterance. The default is 30 s, for slow storage, and 5 x the span: about twenty times what 1080p
    takes on one core."""

    to_open_s: float = 30.0
    """Seconds to open the files."""
    per_media_s: float = 5.0
    """Seconds more for each second of media in the utterance."""

    def __post_init__(self):
        if self.to_open_s <= 0 or self.per_media_s < 0:
            raise UserError(
                f"deadline of {self.to_open_s} s and {self.per_media_s} s a second; give more than 0 s to open"
            )

    def of(self, span_s: float) -> float:
        return self.to_open_s + self.per_media_s * span_s


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
        deadline: Deadline = Deadline(),
        max_requests: int = 500,
        memory_bytes: int = MEMORY_BYTES,
    ):
        self.deadline = deadline
        self.max_requests = max_requests
        self.memory_bytes = memory_bytes
        self._child: _Child | None = None
        self._request: DecodeRequest | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    @property
    def child_pid(self) -> int | None:
        return self._child and self._child.process.pid

    def close(self) -> None:
        """Ends the child; a request in work is dropped."""
        self._drop_child()
        self._request = None

    def start(self) -> None:
        """Starts the child before there is a request: it needs a second to get ready."""
        self._child = self._child or _Child(self.memory_bytes)

    def submit(self, request: DecodeRequest) -> None:
        """Starts decoding. The result of the request before must have been fetched."""
        assert self._request is None, "fetch result() before the next submit()"
        if self._child is not None and (self._child.requests >= self.max_requests or not self._child.is_alive()):
            self._drop_child()
        self._request = request
        self._send()

    def result(self) -> DecodedUtterance:
        """The frames and speech of the request. Raises Rejected: what the decoder found, DECODER_CRASHED,
        DECODER_TIMEOUT or DECODER_OUT_OF_MEMORY. An error in the child's own code is raised with its traceback as a note."""
        assert self._request is not None, "submit() a request before result()"
        try:
            try:
                reply = self._child.receive()
                again = _is_out_of_memory(reply) and self._child.requests > 1
            except _ChildDied:
                again = True
            if again:
                self._drop_child()
                self._send()
                reply = self._child.receive()
        except BaseException as error:
            self._drop_child()
            if isinstance(error, _ChildDied):
                overdue = isinstance(error, _ChildOverdue)
                reason = RejectReason.DECODER_TIMEOUT if overdue else RejectReason.DECODER_CRASHED
                raise Rejected(reason, str(error)) from None
            raise
        finally:
            self._request = None
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _send(self) -> None:
        if self._child is None:
            self._child = _Child(self.memory_bytes)
        self._child.send(self._request, self.deadline)

    def _drop_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child = None


def _is_out_of_memory(reply: object) -> bool:
    return isinstance(reply, Rejected) and reply.reason == RejectReason.DECODER_OUT_OF_MEMORY


class _ChildDied(Exception):
    pass


class _ChildOverdue(_ChildDied):
    """Its own alarm has ended it: it hung while nobody waited for it, or both were paused."""


class _Child:
    """The parent's end of one decoder process."""

    def __init__(self, memory_bytes: int):
        self.socket, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            paths = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", CHILD_COMMAND, str(fd), str(os.getpid()), str(memory_bytes)],
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                env={
                    **os.environ,
                    **LARGE_PAGES,
                    "PYTHONPATH": paths,
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
            )
        self.arrays = SharedArrays()
        self.requests = 0
        self.until = 0.0  # on time.monotonic(), later by each pause
        self.deadline = Deadline()

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.socket.close()

    def send(self, request: DecodeRequest, deadline: Deadline) -> None:
        self.requests += 1
        self.deadline = deadline
        with contextlib.suppress(OSError):  # it has just died; receive() says of what
            messages.send(self.socket, (request, deadline, self.arrays.released()))

    def receive(self) -> DecodedUtterance | Exception:
        self.until = time.monotonic() + self.deadline.to_open_s
        try:
            span_s = self._message()
            if isinstance(span_s, float):
                self.until += self.deadline.per_media_s * span_s
                reply = self._message()
            else:
                reply = span_s
            if isinstance(reply, Exception):
                return reply
            places, indices, times_s, sound, decode_s = reply
            images = self.arrays.receive(self.socket, places if sound is None else [*places, sound])
            speech = None if sound is None else images.pop()
        except (EOFError, OSError):
            raise self._death() from None
        return DecodedUtterance(SampledFrames(images, indices, times_s), speech, decode_s)

    def _message(self) -> object:
        """Waits until the deadline, which runs from when the caller began to wait: it may have been busy, or paused."""
        while True:
            began = time.monotonic()
            look_s = min(LONGEST_LOOK_S, max(0.0, self.until - began))
            ready, _, _ = select.select([self.socket], [], [], look_s)
            if ready:
                return messages.receive(self.socket)
            looked_s = time.monotonic() - began
            if looked_s > look_s + PAUSE_S:
                self.until += looked_s
            elif look_s < LONGEST_LOOK_S:
                raise Rejected(RejectReason.DECODER_TIMEOUT, "the decoder did not answer before its deadline")

    def _death(self) -> Exception:
        self.socket.close()  # a child that still lives has nobody to talk to
        code = self.process.wait()
        if code == -signal.SIGALRM:
            return _ChildOverdue("the decoder did not finish before its deadline")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return _ChildDied(f"the decoder process {how}, twice in a row on this file")
