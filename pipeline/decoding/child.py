"""The decoder process of `pipeline/decoding/isolated_decoder.py`: answers one request after another until its socket closes."""

import contextlib
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

import numpy as np
from av.container import InputContainer

from modeling.sampling import VIDEO_FRAME_RATE
from pipeline.decoding import messages
from pipeline.decoding.isolated_decoder import Deadline, DecodeRequest
from pipeline.decoding.shared_arrays import SharedBuffers
from pipeline.media import containers
from pipeline.media.frames import SampledFrames, sample_frames
from pipeline.media.speech import read_speech
from pipeline.rejects import Rejected, RejectReason

UNKNOWN_SPAN_S = 600.0  # assumed where neither the request nor the file's header tells how long the span is
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
            _answer(connection, request, deadline, memory_bytes, buffers)
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


def _answer(
    connection: socket.socket, request: DecodeRequest, deadline: Deadline, memory_bytes: int, buffers: SharedBuffers
) -> None:
    started = time.process_time()  # of work: a busy machine makes it no longer
    decoded, problem = None, None
    try:
        buffers.begin()
        decoded = frames, _ = _decoded(connection, request, deadline, buffers.lay)
        size = sum(image.nbytes for image in frames.images)  # as many as there are grid places, however few differ
        if size > memory_bytes:
            problem = _out_of_memory(request, memory_bytes)
    except MemoryError:
        problem = _out_of_memory(request, memory_bytes)
    except Exception as error:  # noqa: BLE001 (the parent raises it)
        problem = _portable(error)
    finally:
        signal.alarm(0)
    if problem is not None or decoded is None:
        buffers.drop()
        messages.send(connection, problem)
        return
    frames, speech = decoded
    images = [buffers.place(image) for image in frames.images]
    sound = None if speech is None else buffers.place(speech)
    decode_s = time.process_time() - started
    messages.send(connection, (images, frames.indices, frames.times_s, sound, decode_s))
    buffers.send(connection)


def _out_of_memory(request: DecodeRequest, memory_bytes: int) -> Rejected:
    detail = f"more than {memory_bytes / 2**30:.3g} GiB are needed for the span from {request.start_s:.3f} s"
    return Rejected(RejectReason.DECODER_OUT_OF_MEMORY, detail)


def _decoded(
    connection: socket.socket, request: DecodeRequest, deadline: Deadline, keep: Callable[[np.ndarray], np.ndarray]
) -> tuple[SampledFrames, np.ndarray | None]:
    """Frames and speech, each where `keep` puts it; on the way the caller is told how long the span is."""
    signal.alarm(math.ceil(deadline.to_open_s + ALARM_AFTER_S))
    with contextlib.ExitStack() as files:
        opened = None
        if _is_length_in_file(request):
            opened = files.enter_context(containers.open_container(request.video_path))
        span_s = _span_s(request, opened)
        messages.send(connection, span_s)
        signal.alarm(math.ceil(deadline.of(span_s) + ALARM_AFTER_S))
        frames = sample_frames(request.video_path, request, opened=opened, keep=keep)
    if not request.speech:
        return frames, None
    return frames, keep(read_speech(request.audio_path, request.start_s, request.end_s))


def _is_length_in_file(request: DecodeRequest) -> bool:
    return request.end_s is None and not Path(request.video_path).is_dir()


def _span_s(request: DecodeRequest, opened: InputContainer | None) -> float:
    """Seconds of media that the request may have to read, for its deadline."""
    if opened is not None:
        return float(containers.duration_s(opened) or UNKNOWN_SPAN_S)
    if request.end_s is not None:
        return float(max(0.0, request.end_s - request.start_s))
    return sum(1 for _ in Path(request.video_path).glob("*.jpg")) / (request.pictures_per_s or VIDEO_FRAME_RATE)


def _portable(error: Exception) -> Exception:
    """The error as it can be sent: with its traceback as a note, or as text where it cannot be pickled. The traceback itself,
    which holds the frames, goes."""
    if isinstance(error, Rejected):
        return Rejected(error.reason, error.detail)
    trace = "".join(traceback.format_exception(error))
    error.add_note(f"in the decoder process:\n{trace}")
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None) if messages.can_send(error) else RuntimeError(trace)
