"""Frames of a span, sampled by presentation time.

Sampled by time and not by frame number, so a clip of any constant or variable rate gives the 25 fps, every-6th-frame
pictures of the paper: grid time t_k = start_s + 0.24 k shows the last frame whose time stamp is at or before t_k.
Time 0 is that of `pipeline/media/containers.py`.
"""

import contextlib
import functools
import itertools
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from cluster.failures import UserError
from modeling.sampling import VIDEO_FRAME_RATE
from pipeline.media import containers
from pipeline.media.decord_check import packet_times_s, require_same_times
from pipeline.media.frame_grid import PERIOD_US, FrameGrid, microseconds
from pipeline.media.video_stream import VideoStream
from pipeline.rejects import Rejected, RejectReason

SEEK_BACK_US = (0, 10_000_000)  # how far before the span a first and a second seek aim

Picture = tuple[int, float, np.ndarray]
"""Grid position k, presentation time in s, HxWx3 uint8 RGB."""


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds. Sizes are those of the upright picture in pixels; 0 where there is no video stream."""

    duration_s: float | None
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class FrameRequest:
    """Which frames of a video are wanted: those on display at the grid times of [start_s, end_s)."""

    start_s: float = 0.0
    end_s: float | None = None
    """None: the end of the file."""
    longest_side_px: int | None = 1280
    """A larger frame is scaled down to this many pixels on its longest side; None: never."""
    decoder: str = "pyav"
    """pyav, decord, or "module:function" of another: (path, FrameGrid, longest_side_px) to `Picture`s."""
    pictures_per_s: float | None = None
    """Rate of a folder of pictures, as *.jpg; None: 25."""


@dataclass(frozen=True)
class SampledFrames:
    """`images`: K upright pictures, HxWx3 uint8 RGB. `indices` int32 (K,): position k on the grid of 0.24 s, rising.
    `times_s` float64 (K,): presentation time, on the media clock, of the frame on display at grid time k."""

    images: list[np.ndarray]
    indices: np.ndarray
    times_s: np.ndarray

    def __post_init__(self):
        assert len(self.images) == len(self.indices) == len(self.times_s)


def probe(path: str | Path) -> MediaInfo:
    """Reads the headers and, because the rotation stands only there, the first frame.

    Raises Rejected where the file cannot be opened, as `sample_frames` does.
    """
    with containers.open_container(path) as container:
        kinds = {stream.type for stream in containers.playable_streams(container)}
        duration_s = containers.duration_s(container) or containers.measured_duration_s(path)
        if "video" not in kinds:
            return MediaInfo(duration_s, 0, 0)
        video = VideoStream(container, FrameGrid(0, None))
        context = video.stream.codec_context
        width, height = context.width, context.height
        first = next(video.frames(), None)
        if first is not None and _quarter_turns(first[1]) % 2:
            width, height = height, width
        return MediaInfo(duration_s, width, height)


def sample_frames(
    path: str | Path,
    request: FrameRequest,
    *,
    opened: InputContainer | None = None,
    keep: Callable[[np.ndarray], np.ndarray] = np.ascontiguousarray,
) -> SampledFrames:
    """The frame on display at every grid time of the request. A folder of *.jpg is a video too.

    Grid times after the last frame, or within a stretch that cannot be decoded, are left out.

    opened: the file as `containers.open_container` gives it and not read from yet, where a caller has it open; pyav need not
    open it again, which with H.264 decodes a frame. keep: where each picture goes as soon as it is made; it returns the
    picture that is handed out in its place. One on display for long is kept once.

    Raises Rejected where no frame can be given: FILE_NOT_FOUND, STORAGE_ERROR, EMPTY_FILE, TRUNCATED, NOT_A_VIDEO,
    NO_VIDEO_STREAM, UNSUPPORTED_CODEC, NO_FRAMES, DAMAGED_VIDEO.
    """
    if Path(path).is_dir():
        decode = functools.partial(_decode_picture_folder, pictures_per_s=request.pictures_per_s or VIDEO_FRAME_RATE)
    elif request.decoder == "pyav":
        decode = functools.partial(_decode_with_pyav, opened=opened)
    else:
        decode = _decoder(request.decoder)
    indices, times_s, images = [], [], []
    made = None
    for index, time_s, image in decode(
        path, FrameGrid.of_span(request.start_s, request.end_s), request.longest_side_px
    ):
        images.append(images[-1] if image is made else keep(image))
        indices.append(index)
        times_s.append(time_s)
        made = image
    if not images:
        raise Rejected(RejectReason.NO_FRAMES, f"no frame is shown in the span that begins at {request.start_s:.3f} s")
    return SampledFrames(images, np.array(indices, np.int32), np.array(times_s, np.float64))


def _decoder(name: str) -> Callable[..., Iterator[Picture]]:
    if name in DECODERS:
        return DECODERS[name]
    if ":" not in name:
        raise UserError(f"decoder {name!r} is not known; use one of {', '.join(DECODERS)} or module:function")
    return pkgutil.resolve_name(name)


def _decode_with_pyav(
    path: str | Path, grid: FrameGrid, longest_side_px: int | None, opened: InputContainer | None = None
) -> Iterator[Picture]:
    """Seeks, and decodes no further than the span. Where a file's index points too far, seeks again from further back
    and then reads from the start."""
    seeks_us = [back_us for back_us in SEEK_BACK_US if back_us < grid.start_us]
    for back_us in (*seeks_us, None):
        with containers.open_container(path) if opened is None else contextlib.nullcontext(opened) as container:
            opened = None  # a second try needs it unread
            video = VideoStream(container, grid)
            if back_us is not None:
                containers.seek(container, video.stream, video.zero_s + Fraction(grid.start_us - back_us, 10**6))
            sampled = video.sampled(first_may_be_late=back_us is None)
            if sampled is not None:
                yield from _converted(sampled, longest_side_px, video)
                return


def _converted(sampled: Iterator, longest_side_px: int | None, video: VideoStream) -> Iterator[Picture]:
    frame = image = None
    for position, (time_us, shown) in sampled:
        if shown is not frame or image is None:  # a frame on display for long serves several grid times
            frame, image = shown, _upright_rgb(shown, longest_side_px)
        yield position, time_us / 10**6, image
    if frame is None:
        raise video.why_nothing()


def _upright_rgb(frame: av.VideoFrame, longest_side_px: int | None) -> np.ndarray:
    """HxWx3 uint8, as `ffmpeg -pix_fmt rgb24` gives it (`-sws_flags area` where it is scaled down)."""
    height, width = scaled_size(frame.height, frame.width, longest_side_px)
    # a mean of areas shows no more than the picture holds, and takes a third of bicubic's time, ffmpeg's default
    interpolation = "BICUBIC" if (width, height) == (frame.width, frame.height) else "AREA"
    image = frame.reformat(width, height, "rgb24", interpolation=interpolation).to_ndarray()
    return np.rot90(image, _quarter_turns(frame))


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Anticlockwise turns that set the frame upright, from the display matrix."""
    return round(frame.rotation / 90)


def scaled_size(height: int, width: int, longest_side_px: int | None) -> tuple[int, int]:
    """Height and width in pixels, in proportion, neither above `longest_side_px`; never larger than they were."""
    scale = 1.0 if longest_side_px is None else min(1.0, longest_side_px / max(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _decode_with_decord(path: str | Path, grid: FrameGrid, longest_side_px: int | None) -> Iterator[Picture]:
    """decord reads every time stamp of the file first, and then goes from key frame to key frame. Rejected are files of which it
    is known to show other pictures than those that were asked for (`decord_check.py`)."""
    import decord

    info = probe(path)
    with containers.open_container(path) as container:
        stream = containers.best_stream(container, "video")
        zero_s = containers.clock_zero_s(container)
        starts_s = containers.starts_s(stream)
        first_us = microseconds((zero_s if starts_s is None else starts_s) - zero_s)
        wanted_s = packet_times_s(container, stream)
    height, width = scaled_size(info.height, info.width, longest_side_px)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=width, height=height, num_threads=1)
        shown_s = reader.get_frame_timestamp(range(len(reader)))
        require_same_times(shown_s[:, 0], wanted_s)
        shown_us = first_us + np.round(shown_s * 1e6).astype(np.int64)
        bounds_us = [shown_us[0, 0] - PERIOD_US, *shown_us[1:, 0], shown_us[-1, 1]]
        served = [
            (position, index)
            for index, (from_us, until_us) in enumerate(itertools.pairwise(bounds_us))
            for position in grid.positions(int(from_us), int(until_us))
        ]
        images = reader.get_batch([index for _, index in served]).asnumpy() if served else []
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise Rejected(RejectReason.DAMAGED_VIDEO, said[-1]) from error
    for (position, index), image in zip(served, images, strict=True):
        yield position, float(shown_us[index, 0]) / 10**6, image


def _decode_picture_folder(
    path: str | Path, grid: FrameGrid, longest_side_px: int | None, pictures_per_s: float
) -> Iterator[Picture]:
    """Picture j of the sorted *.jpg is on display from j to j+1 times 1/pictures_per_s. Reads only those on the grid."""
    import cv2

    picture_us = microseconds(1 / pictures_per_s)
    files = sorted(Path(path).glob("*.jpg"))
    wanted = [(k, j) for j in range(len(files)) for k in grid.positions(j * picture_us, (j + 1) * picture_us)]
    is_empty = True
    for position, index in wanted:
        image = cv2.imread(str(files[index]), cv2.IMREAD_COLOR_RGB)
        if image is None:
            continue
        is_empty = False
        size = scaled_size(image.shape[0], image.shape[1], longest_side_px)
        if size != image.shape[:2]:
            image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
        yield position, index * picture_us / 10**6, image
    if wanted and is_empty:
        raise Rejected(RejectReason.DAMAGED_VIDEO, f"none of {len(wanted)} pictures in the span can be read")


DECODERS: dict[str, Callable[..., Iterator[Picture]]] = {"pyav": _decode_with_pyav, "decord": _decode_with_decord}
