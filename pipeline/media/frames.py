"""Frames of a span, sampled by presentation time.

Sampled by time and not by frame number, so a clip of any constant or variable rate gives the 25 fps, every-6th-frame
pictures of the paper: grid time t_k = start_s + 0.24 k shows the last frame whose time stamp is at or before t_k.
Time 0 is that of `pipeline/media/containers.py`.
"""

import functools
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from cluster.failures import UserError
from modeling.sampling import VIDEO_FRAME_RATE
from pipeline.media import containers
from pipeline.media.clock import clock_of
from pipeline.media.decoder_names import DECODER_NAMES
from pipeline.media.decord_frames import decode_with_decord
from pipeline.media.frame_grid import FrameGrid, Picture, microseconds
from pipeline.media.upright import scaled_size, upright_rgb
from pipeline.media.video_stream import VideoStream
from pipeline.rejects import Rejected, RejectReason

SEEK_BACK_US = (0, 10_000_000)  # how far before the span a first and a second seek aim


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


def sample_frames(
    path: str | Path,
    request: FrameRequest,
    *,
    keep: Callable[[np.ndarray], np.ndarray] = np.ascontiguousarray,
) -> SampledFrames:
    """The frame on display at every grid time of the request. A folder of *.jpg is a video too.

    Grid times after the last frame, or within a stretch that cannot be decoded, are left out.

    keep: where each picture goes as soon as it is made; it returns the
    picture that is handed out in its place. One on display for long is kept once.

    Raises Rejected where no frame can be given: FILE_NOT_FOUND, STORAGE_ERROR, EMPTY_FILE, TRUNCATED, NOT_A_VIDEO,
    NO_VIDEO_STREAM, UNSUPPORTED_CODEC, NO_FRAMES, DAMAGED_VIDEO.
    """
    if Path(path).is_dir():
        decode = functools.partial(_decode_picture_folder, pictures_per_s=request.pictures_per_s or VIDEO_FRAME_RATE)
    elif request.decoder == "pyav":
        decode = _decode_with_pyav
    else:
        decode = _decoder(request.decoder)
    indices, times_s, images = [], [], []
    made = None
    for index, time_s, image in decode(
        path, FrameGrid.of_span(request.start_s, request.end_s), request.longest_side_px
    ):
        if indices and index <= indices[-1]:
            continue  # time stamps that go back: a place of the grid shows one picture
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
    try:
        return pkgutil.resolve_name(name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"decoder {name}: {error}; give module:function of a module that Python finds") from error


def _decode_with_pyav(path: str | Path, grid: FrameGrid, longest_side_px: int | None) -> Iterator[Picture]:
    """Seeks, and decodes no further than the span. Where a file's index points too far, seeks again from further back
    and then reads from the start; so it does at once where the clock starts again, because its places cannot be sought."""
    clock = None
    seeks_us = [back_us for back_us in SEEK_BACK_US if back_us < grid.start_us]
    for back_us in (*seeks_us, None):
        with containers.open_container(path) as container:
            clock = clock or clock_of(container)
            if clock.shifts and back_us is not None:
                continue
            video = VideoStream(container, grid, clock)
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
            frame, image = shown, upright_rgb(shown, longest_side_px, video.pixel_aspect())
        yield position, time_us / 10**6, image
    if frame is None:
        raise video.why_nothing()


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


DECODERS: dict[str, Callable[..., Iterator[Picture]]] = dict(
    zip(DECODER_NAMES, (_decode_with_pyav, decode_with_decord), strict=True)
)
