"""The decoder process of `pipeline/decoding/isolated_decoder.py`: answers one request after another until its socket closes."""

import ctypes
import math
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from modeling.sampling import SAMPLE_RATE_HZ, VIDEO_FRAME_RATE
from pipeline.decoding import messages
from pipeline.decoding.deadline import Deadline
from pipeline.decoding.far_file import FarFile
from pipeline.decoding.requests import (
    DecodeRequest,
    LengthRequest,
    NativeSpeechRequest,
    Request,
    SpeechRequest,
    StreamRequest,
)
from pipeline.decoding.shared_arrays import SharedBuffers
from pipeline.media import containers, lengths, limits
from pipeline.media.frames import sample_frames
from pipeline.media.speech import read_at_native_rate, read_speech, stream_speech
from pipeline.rejects import Rejected, RejectReason, blaming

ALARM_AFTER_S = 10.0  # the child's own alarm rings this long after the caller's deadline
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def serve() -> None:
    """The child: answers requests on the socket whose descriptor is its first argument until that closes. The others are
    its parent's process id and the bytes that it may allocate."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    _die_with_parent(int(sys.argv[2]))
    memory_bytes = int(sys.argv[3])
    _allow_memory(memory_bytes)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    buffers = SharedBuffers(memory_bytes)
    while True:
        try:
            request, deadline, released = messages.receive(connection)
            buffers.take_back(released)
            Answer(connection, request, deadline, buffers, memory_bytes).send()
        except (EOFError, ConnectionError):
            return


def _die_with_parent(parent_pid: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the line above
        sys.exit(1)


def _allow_memory(memory_bytes: int) -> None:
    """An allocation beyond this fails. Counted is what the process may write to (Linux since 4.7), not mapped files."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))


class Answer:
    """What is sent back to one request: how long it may take, on the way the pieces of a stream, and last a value, arrays or
    an error."""

    def __init__(
        self,
        connection: socket.socket,
        request: Request,
        deadline: Deadline,
        buffers: SharedBuffers,
        memory_bytes: int,
    ):
        self.connection, self.request, self.deadline = connection, request, deadline
        self.buffers, self.memory_bytes = buffers, memory_bytes
        self.allowed_s = deadline.to_open_s

    def send(self) -> None:
        started = time.process_time()  # of work: a busy machine makes it no longer
        self._ring_after()
        try:
            self.buffers.begin()
            kind, answer = WAYS[type(self.request)](self, self.request)
        except MemoryError:
            kind, answer = messages.ERROR, self._out_of_memory()
        except Exception as error:  # noqa: BLE001 (the parent raises it)
            kind, answer = messages.ERROR, _portable(error)
        finally:
            signal.alarm(0)
        if kind != messages.ARRAYS:
            self.buffers.drop()
            messages.send(self.connection, (kind, answer))
            return
        messages.send(self.connection, (kind, (answer, time.process_time() - started)))
        self.buffers.send(self.connection)

    def allow(self, claimed_s: float, *paths: str) -> None:
        """Tells the caller for how many seconds of media there has to be time: by the files' bytes, whatever they claim."""
        size_bytes = sum(os.path.getsize(path) for path in {*paths} if os.path.isfile(path))
        self.allow_s(limits.credited_s(claimed_s, size_bytes))

    def allow_s(self, media_s: float) -> None:
        self.allowed_s = self.deadline.of(media_s)
        messages.send(self.connection, (messages.SPAN, float(media_s)))
        self._ring_after()

    def asked(self, start: int, size: int) -> bytes:
        """Bytes of a file that the caller has."""
        signal.alarm(0)
        messages.send(self.connection, (messages.RANGE, (start, size)))
        data = messages.receive(self.connection)
        self._ring_after()
        return data

    def piece(self, samples: np.ndarray) -> None:
        """Sends a part of a stream; how long the caller takes to fetch it counts for nothing."""
        signal.alarm(0)
        messages.send(self.connection, (messages.PIECE, samples.tobytes()))
        self._ring_after()

    def _ring_after(self) -> None:
        signal.alarm(math.ceil(self.allowed_s + ALARM_AFTER_S))

    def _out_of_memory(self) -> Rejected:
        what = "the file"
        if isinstance(self.request, DecodeRequest | SpeechRequest):
            what = f"the span from {self.request.start_s:.3f} s"
        detail = f"more than {self.memory_bytes / 2**30:.3g} GiB are needed for {what}"
        return Rejected(RejectReason.DECODER_OUT_OF_MEMORY, detail)


def _utterance(answer: Answer, request: DecodeRequest) -> tuple[str, Any]:
    """Places of the images, of the sound or None, and the frames' positions and times."""
    if os.path.isdir(request.video_path):
        answer.allow_s(_folder_s(request))
    else:
        open_end = _claimed_s(request.video_path) if request.end_s is None else request.end_s
        answer.allow(_span_s(request.start_s, open_end), request.video_path, request.audio_path)
    with blaming(RejectReason.DAMAGED_VIDEO):
        frames = sample_frames(request.video_path, request, keep=answer.buffers.lay)
    if sum(image.nbytes for image in frames.images) > answer.memory_bytes:  # a grid place each, however few differ
        raise MemoryError
    sound = None
    if request.speech:
        sound = _laid_speech(answer, request.audio_path, request.start_s, request.end_s)
    images = [answer.buffers.place(image) for image in frames.images]
    return messages.ARRAYS, ([*images, sound] if sound else images, frames.indices, frames.times_s, bool(sound))


def _span_s(start_s: float, end_s: float | None) -> float:
    return math.inf if end_s is None else max(0.0, end_s - start_s)


def _claimed_s(path: str) -> float:
    """What the header says, for a span without an end: by its bytes alone, a short clip of high quality would have minutes."""
    try:
        with containers.open_container(path) as container:
            return containers.duration_s(container) or math.inf
    except Rejected:
        return math.inf


def _folder_s(request: DecodeRequest) -> float:
    """Seconds of its pictures that may have to be read."""
    pictures = sum(1 for _ in Path(request.video_path).glob("*.jpg"))
    return min(pictures / (request.pictures_per_s or VIDEO_FRAME_RATE), _span_s(request.start_s, request.end_s))


def _laid_speech(answer: Answer, path: str, start_s: float, end_s: float | None):
    with blaming(RejectReason.DAMAGED_AUDIO):
        speech = read_speech(path, start_s, end_s)
    return answer.buffers.place(answer.buffers.lay(speech))


def _speech(answer: Answer, request: SpeechRequest) -> tuple[str, Any]:
    answer.allow(_span_s(request.start_s, request.end_s), request.path)
    return messages.ARRAYS, ([_laid_speech(answer, request.path, request.start_s, request.end_s)],)


def _native_speech(answer: Answer, request: NativeSpeechRequest) -> tuple[str, Any]:
    answer.allow(math.inf, request.path)
    with blaming(RejectReason.DAMAGED_AUDIO):
        speech = read_at_native_rate(request.path, request.most_samples)
    return messages.ARRAYS, ([answer.buffers.place(answer.buffers.lay(speech))],)


def _stream(answer: Answer, request: StreamRequest) -> tuple[str, Any]:
    """Time is given for what has been heard so far: a file that goes on may take its time."""
    heard_s = 0.0
    with blaming(RejectReason.DAMAGED_AUDIO):
        for samples in stream_speech(request.path):
            answer.piece(samples)
            heard_s += len(samples) / SAMPLE_RATE_HZ
            answer.allow_s(heard_s)
    return messages.VALUE, None


def _length(answer: Answer, request: LengthRequest) -> tuple[str, Any]:
    with blaming(RejectReason.DAMAGED_VIDEO):
        if request.remote_bytes is not None:
            file = cast(BinaryIO, FarFile(request.path, request.remote_bytes, answer.asked))
            return messages.VALUE, lengths.length_by_looks_s(file, request.remote_bytes)
        answer.allow(math.inf, request.path)
        return messages.VALUE, lengths.length_s(request.path)


WAYS: dict[type, Callable[[Answer, Any], tuple[str, Any]]] = {
    DecodeRequest: _utterance,
    SpeechRequest: _speech,
    NativeSpeechRequest: _native_speech,
    StreamRequest: _stream,
    LengthRequest: _length,
}


def _portable(error: Exception) -> Exception:
    """The error as it can be sent: with its traceback as a note, or as text where it cannot be pickled. The traceback itself,
    which holds the frames, goes."""
    if isinstance(error, Rejected):
        rejected = Rejected(error.reason, error.detail)
        for note in getattr(error, "__notes__", []):
            rejected.add_note(note)
        return rejected
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"in the decoder process:\n{trace}")
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None) if messages.can_send(error) else RuntimeError(trace)
