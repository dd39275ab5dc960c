"""How long a video is and how large it is shown."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.media import containers
from pipeline.media.clock import whole_clock_of
from pipeline.media.frame_grid import FrameGrid
from pipeline.media.upright import display_matrix, is_on_its_side, shown_size
from pipeline.media.video_stream import VideoStream


@dataclass(frozen=True)
class MediaInfo:
    """What a file holds. Sizes are those of the upright picture in pixels; 0 where there is no video stream."""

    duration_s: float | None
    width: int
    height: int


def probe(path: str | Path) -> MediaInfo:
    """Reads the headers and, because the rotation stands only there, the first frame.

    Raises Rejected where the file cannot be opened, as `sample_frames` does.
    """
    clock = whole_clock_of(str(path))
    with containers.open_container(path) as container:
        kinds = {stream.type for stream in containers.playable_streams(container)}
        duration_s = max(clock.ends_s.values(), default=None)
        if "video" not in kinds:
            return MediaInfo(duration_s, 0, 0)
        video = VideoStream(container, FrameGrid(0, None), clock)
        context = video.stream.codec_context
        first = next(video.frames(), None)
        height, width = shown_size(context.height, context.width, video.pixel_aspect())
        if first is not None and is_on_its_side(display_matrix(first[1])):
            width, height = height, width
        return MediaInfo(duration_s, width, height)
