"""The caller's end of one decoder process: starts it, sends it requests, waits for its replies no longer than the deadline."""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from cluster.huge_pages import HUGE_PAGES
from cluster.working_tree import python_path
from pipeline.decoding import messages
from pipeline.decoding.deadline import Deadline
from pipeline.decoding.requests import DecodedUtterance, DecodeRequest, Request
from pipeline.decoding.shared_arrays import SharedArrays
from pipeline.media.frames import SampledFrames
from pipeline.media.limits import MOST_PIXELS
from pipeline.rejects import Rejected, RejectReason

LONGEST_WAIT_S = 1.0
PAUSE_S = 1.0
"""A wait for the decoder that took this much longer than it should was a pause of this process (a stopped container, a
suspended laptop). The decoder stood still too, so such time counts for no deadline."""

COMMAND = "from pipeline.decoding.child import serve; serve()"


class ChildDied(Exception):
    pass


class ChildOverdue(ChildDied):
    """Its own alarm has ended it: it hung while nobody waited for it, or both were paused."""


class ChildProcess:
    """A bare `python -c` that imports only what decodes."""

    def __init__(self, memory_bytes: int):
        self.socket, theirs = socket.socketpair()
        with theirs:
            fd = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", COMMAND, str(fd), str(os.getpid()), str(memory_bytes)],
                pass_fds=[fd],
                stdin=subprocess.DEVNULL,
                env={
                    **os.environ,
                    **HUGE_PAGES,
                    "PYTHONPATH": python_path(*sys.path),
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                    "OPENCV_IO_MAX_IMAGE_PIXELS": str(MOST_PIXELS),
                },
            )
        self.arrays = SharedArrays()
        self.requests = 0
        self.request: Request | None = None
        self.deadline = Deadline()
        self.allowed_s = self.waited_s = 0.0

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.socket.close()

    def send(self, request: Request, deadline: Deadline) -> None:
        self.requests += 1
        self.request, self.deadline = request, deadline
        self.allowed_s, self.waited_s = deadline.to_open_s, 0.0
        with contextlib.suppress(OSError):  # it has just died; replies() says how
            messages.send(self.socket, (request, deadline, self.arrays.released()))

    def replies(self, far_file: BinaryIO | None = None) -> Iterator[tuple[str, Any]]:
        """(PIECE, samples) of a stream, then (VALUE, answer) or (ERROR, exception). far_file: read for the child.

        Raises ChildDied, and Rejected DECODER_TIMEOUT at the deadline, for which only waiting here counts.
        """
        kind = None
        while kind not in (messages.VALUE, messages.ERROR):
            kind, said = self._heard()
            if kind == messages.SPAN:
                self.allowed_s = self.deadline.of(said)
            elif kind == messages.RANGE:
                assert far_file is not None, "only a file that the caller reads is asked for"
                far_file.seek(said[0])
                self._tell(far_file.read(said[1]))
            else:
                yield kind, said

    def _heard(self) -> tuple[str, Any]:
        try:
            kind, said = self._message()
            if kind == messages.PIECE:
                return kind, np.frombuffer(said, np.int16)
            return (messages.VALUE, self._with_arrays(*said)) if kind == messages.ARRAYS else (kind, said)
        except (EOFError, OSError):
            raise self._death() from None

    def _tell(self, data: bytes) -> None:
        try:
            messages.send(self.socket, data)
        except OSError:
            raise self._death() from None

    def _with_arrays(self, answer: tuple[Any, ...], decode_s: float) -> DecodedUtterance | np.ndarray:
        places, *facts = answer
        arrays = self.arrays.receive(self.socket, places)
        if not isinstance(self.request, DecodeRequest):
            return arrays[0]
        indices, times_s, has_speech = facts
        speech = arrays.pop() if has_speech else None
        return DecodedUtterance(SampledFrames(arrays, indices, times_s), speech, decode_s)

    def _message(self) -> Any:
        """Waits until the deadline. An answer that is there counts, however late the caller comes for it."""
        while True:
            began = time.monotonic()
            wait_s = min(LONGEST_WAIT_S, max(0.0, self.allowed_s - self.waited_s))
            ready, _, _ = select.select([self.socket], [], [], wait_s)
            waited_s = time.monotonic() - began
            is_pause = waited_s > wait_s + PAUSE_S
            self.waited_s += 0.0 if is_pause else waited_s
            if ready:
                return messages.receive(self.socket)
            if wait_s < LONGEST_WAIT_S and not is_pause:
                raise Rejected(RejectReason.DECODER_TIMEOUT, "the decoder did not answer before its deadline")

    def _death(self) -> Exception:
        self.socket.close()  # a child that still lives has nobody to talk to
        code = self.process.wait()
        if code == -signal.SIGALRM:
            return ChildOverdue("the decoder did not finish before its deadline")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return ChildDied(f"the decoder process {how}, twice in a row on this file")
