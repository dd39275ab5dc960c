"""Opening a media file: which stream to read, where time 0 lies, and why a file cannot be opened. The only module that calls
`av.open` (held by a test).

Media clock: time 0 is the earliest start time of the file's audio and video streams, so that the frames
(`pipeline/media/frames.py`) and the speech (`pipeline/media/speech.py`) of one span cover the same interval. It is also the
zero of the ffmpeg program.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, Literal, overload

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition, Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from pipeline.media import limits
from pipeline.rejects import Rejected, RejectReason

DECODER_THREADS = 1  # one decoder takes one core, which is what its Ray actor reserves

MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}  # box types that begin an mp4 or mov file
OTHER_SIGNATURES = (b"\x1a\x45\xdf\xa3", b"RIFF", b"OggS", b"FLV\x01", b"fLaC")  # Matroska/WebM, AVI/WAV, Ogg, ...

OPTIONS = {
    "format_whitelist": ",".join(limits.DEMUXERS),
    "protocol_whitelist": "file",
    "max_streams": str(limits.MOST_STREAMS + 1),
}

WITHOUT_HEADER = {"flv", "mpeg", "mpegts"}
"""Formats that do not say at their beginning which streams there are."""

LATE_STREAMS = {"probesize": str(64 * 2**20), "analyzeduration": str(600 * av.time_base)}
"""How far to look for the sound, or the picture, in such a file: bytes, and microseconds."""


@contextlib.contextmanager
def open_container(path: str | Path) -> Generator[InputContainer]:
    """The file, headers read. Raises Rejected: FILE_NOT_FOUND, STORAGE_ERROR, EMPTY_FILE, TRUNCATED, NOT_A_VIDEO or
    DAMAGED_VIDEO."""
    path = Path(os.path.abspath(path))  # absolute: ffmpeg would take the part before a colon for a protocol
    regular_file(path)
    try:
        container = _opened(str(path))
        if container.format.name in WITHOUT_HEADER and len({s.type for s in playable_streams(container)}) < 2:
            container.close()
            container = _opened(str(path), LATE_STREAMS)
    except FFmpegError as error:
        raise _why_not_opened(path, error) from error
    with container:
        _require_few_streams(container)
        yield container


@contextlib.contextmanager
def opened_file(file: BinaryIO) -> Generator[InputContainer]:
    """An open file, of which only the bytes that ffmpeg asks for are read. Raises FFmpegError, and Rejected BEYOND_LIMITS."""
    with _opened(file) as container:
        _require_few_streams(container)
        yield container


def _opened(file: str | BinaryIO, options: dict[str, str] | None = None) -> InputContainer:
    """Tags need not be UTF-8: AVI and ID3v1 have none of their own, and nobody reads them here."""
    return av.open(
        file,
        "r",
        options={"max_pixels": str(limits.MOST_PIXELS)},
        container_options=OPTIONS | (options or {}),
        metadata_errors="replace",
    )


def regular_file(path: Path) -> os.stat_result:
    """What the system says of it. A named pipe would be waited for, a device has no end. Raises Rejected FILE_NOT_FOUND,
    STORAGE_ERROR, or NOT_A_VIDEO for what is no regular file."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Rejected(RejectReason.FILE_NOT_FOUND, f"{path.name} does not exist") from error
    except OSError as error:
        reason = RejectReason.FILE_NOT_FOUND if error.errno == errno.ENAMETOOLONG else RejectReason.STORAGE_ERROR
        raise Rejected(reason, f"{path.name} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Rejected(RejectReason.FILE_NOT_FOUND, f"{path.name!r} cannot be the name of a file") from error
    if stat.S_ISDIR(status.st_mode):
        raise Rejected(RejectReason.STORAGE_ERROR, f"{path.name} cannot be read: it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise Rejected(RejectReason.NOT_A_VIDEO, f"{path.name} is no regular file")
    return status


def _require_few_streams(container: InputContainer) -> None:
    if len(container.streams) > limits.MOST_STREAMS:
        detail = f"{len(container.streams)} streams; the most is {limits.MOST_STREAMS}"
        raise Rejected(RejectReason.BEYOND_LIMITS, detail)


def _why_not_opened(path: Path, error: FFmpegError) -> Rejected:
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as unreadable:
        return Rejected(RejectReason.STORAGE_ERROR, f"{path.name} cannot be read: {unreadable.strerror}")
    if not head:
        return Rejected(RejectReason.EMPTY_FILE, f"{path.name} has 0 bytes")
    size = path.stat().st_size
    if head[4:8] in MP4_BOXES:
        if is_cut_short(path):
            return Rejected(RejectReason.TRUNCATED, f"an mp4 whose end or index (moov) is missing, {size} bytes")
        return Rejected(RejectReason.DAMAGED_VIDEO, f"the index of {path.name} cannot be read: {error.strerror}")
    if head.startswith(OTHER_SIGNATURES):
        return Rejected(RejectReason.TRUNCATED, f"begins as a media file, but its {size} bytes hold no readable header")
    return Rejected(RejectReason.NOT_A_VIDEO, f"{size} bytes in no known container format")


def is_cut_short(path: str | Path) -> bool:
    """Whether an mp4 or mov file lacks its index, or ends within one of its top-level boxes. False for other formats.

    A box is 4 bytes of size, 4 of type, and 8 of size where the first size is 1; size 0 is "to the end".
    """
    size, offset, types = os.path.getsize(path), 0, set()
    with open(path, "rb") as file:
        while offset + 8 <= size:
            file.seek(offset)
            header = file.read(16)
            if offset == 0 and header[4:8] not in MP4_BOXES:
                return False
            types.add(header[4:8])
            length = int.from_bytes(header[:4], "big")
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            offset += length if length >= 8 else size - offset
    return offset > size or b"moov" not in types


def playable_streams(container: InputContainer) -> list[Stream]:
    """Audio and video streams; the cover picture of a music file is neither."""
    streams: list[Stream] = [*container.streams.video, *container.streams.audio]
    return [stream for stream in streams if not stream.disposition & Disposition.attached_pic]


@overload
def best_stream(container: InputContainer, kind: Literal["video"]) -> VideoStream: ...


@overload
def best_stream(container: InputContainer, kind: Literal["audio"]) -> AudioStream: ...


def best_stream(container: InputContainer, kind: Literal["video", "audio"]) -> Stream:
    """The stream of kind "video" or "audio" that ffmpeg's `av_find_best_stream` chooses; the audio that belongs to the
    video where there are several. Raises Rejected: NO_VIDEO_STREAM, NO_AUDIO_STREAM, UNSUPPORTED_CODEC, DAMAGED_AUDIO.
    """
    candidates = {s.index: s for s in playable_streams(container) if s.type == kind}
    if not candidates:
        reason = RejectReason.NO_VIDEO_STREAM if kind == "video" else RejectReason.NO_AUDIO_STREAM
        found = ", ".join(sorted({s.type for s in container.streams})) or "none"
        raise Rejected(reason, f"streams in the file: {found}")
    video = container.streams.best("video") if kind == "audio" else None
    stream = container.streams.best(kind, related=video)
    if stream is None or stream.index not in candidates:  # find_best knows only streams with a decoder
        stream = next(iter(candidates.values()))
    if stream.codec_context is None:  # pyright: ignore[reportUnnecessaryComparison] (PyAV gives None for an unknown codec)
        reason = RejectReason.UNSUPPORTED_CODEC if kind == "video" else RejectReason.DAMAGED_AUDIO
        raise Rejected(reason, f"no decoder for the {kind} codec of stream {stream.index}")
    _require_within_limits(stream)
    stream.codec_context.thread_count = DECODER_THREADS
    return stream


def decoded_streams(container: InputContainer) -> frozenset[int]:
    """Indices of the video stream and of the audio stream that are decoded (`best_stream`); without one that cannot be."""
    found: set[int] = set()
    for kind in ("video", "audio"):
        with contextlib.suppress(Rejected):
            found.add(best_stream(container, kind).index)
    return frozenset(found or {stream.index for stream in playable_streams(container)})


def _require_within_limits(stream: Stream) -> None:
    """Raises Rejected BEYOND_LIMITS by what the stream says of itself, before anything of it is decoded."""
    context = stream.codec_context
    found = None
    if isinstance(context, VideoCodecContext):
        if context.width * context.height > limits.MOST_PIXELS:
            found = f"pictures of {context.width} x {context.height}; the most is {limits.MOST_PIXELS} pixels"
        context.options = {"max_pixels": str(limits.MOST_PIXELS)}
    elif isinstance(context, AudioCodecContext):
        lowest, highest = limits.RATES_HZ
        if context.channels > limits.MOST_CHANNELS:
            found = f"{context.channels} channels; the most is {limits.MOST_CHANNELS}"
        elif context.sample_rate and not lowest <= context.sample_rate <= highest:
            found = f"sound at {context.sample_rate} Hz; {lowest} to {highest} can be"
    if found:
        raise Rejected(RejectReason.BEYOND_LIMITS, found)


def clock_zero_s(container: InputContainer) -> Fraction:
    """Time 0 of the media clock in the container's own time, in seconds."""
    starts = [starts_s(stream) for stream in playable_streams(container)]
    return min((start for start in starts if start is not None), default=Fraction(0))


def starts_s(stream: Stream) -> Fraction | None:
    """When a stream begins, in the container's own time; None where the file does not say."""
    return None if stream.start_time is None else stream.start_time * time_base(stream)


def time_base(stream: Stream) -> Fraction:
    """Seconds of one tick of the stream's time stamps; every stream that ffmpeg has opened has one."""
    assert stream.time_base is not None
    return stream.time_base


def duration_s(container: InputContainer) -> float | None:
    """What the header claims; None where it says nothing (a live WebM)."""
    return None if container.duration is None else container.duration / av.time_base


def packets(container: InputContainer, *streams: Stream) -> Iterator[av.Packet]:
    """The streams' packets, an empty flushing one of each last; a file whose reading fails half way just ends there.

    PyAV 18 looks for a stream that appeared on the way when it flushes, and does not find it (IndexError).
    """
    flushed: set[int] = set()
    try:
        for packet in container.demux(*streams):
            if packet.pts is None and packet.dts is None and not packet.size:
                flushed.add(packet.stream_index)
            yield packet
    except (FFmpegError, IndexError):
        for stream in streams:
            if stream.index not in flushed:
                flushing = av.Packet()
                flushing.stream = stream
                yield flushing


def seek(container: InputContainer, stream: Stream, to_s: Fraction) -> None:
    """To the last key frame at or before `to_s` (container time). A file that has no way to seek stays where it is."""
    with contextlib.suppress(FFmpegError):
        container.seek(int(to_s / time_base(stream)), stream=stream, backward=True)
