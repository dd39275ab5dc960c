"""One pass over a video stream with PyAV: from the key frame before a span to the span's end. The only module that decodes
video packets (held by a test); decord and folders of pictures are in `pipeline/media/frames.py`.
"""

from collections.abc import Iterator
from fractions import Fraction

import av
from av.container import InputContainer
from av.error import FFmpegError

from pipeline.media import containers
from pipeline.media.clock import MediaClock, placed_packets
from pipeline.media.frame_grid import PERIOD_US, ROUNDING_US, FrameGrid, PacketTimeline, microseconds
from pipeline.media.limits import LONGEST_GAP_S, MOST_PIXELS
from pipeline.rejects import Rejected, RejectReason

FORMATS_WITH_PTS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}  # AVI and raw streams store no presentation times
DECODERS_THAT_SKIP = {"h264", "hevc", "mpeg4", "vp8", "vp9"}
"""ffmpeg's own, which look at `skip_frame` at every packet. Others read it when they open (libdav1d) or never."""
PROGRESSIVE = {0, 1}  # ffmpeg's field_order: unknown, progressive. Two interlaced fields may share a frame

TimedFrame = tuple[int, av.VideoFrame]
"""Presentation time in microseconds on the media clock, and the frame as decoded."""


class VideoStream:
    """The video stream of an open container, for one span.

    Where the container tells every packet's presentation time, packets that are on display at no grid time are passed
    over if no other frame refers to them: about 30 % less time than decoding all, and the same pictures.
    """

    def __init__(self, container: InputContainer, grid: FrameGrid, clock: MediaClock):
        self.container = container
        self.clock = clock
        self.stream = containers.best_stream(container, "video")
        self.time_base = containers.time_base(self.stream)
        self.grid = grid
        self.timeline = PacketTimeline()
        context = self.stream.codec_context
        self.is_planned = (
            container.format.name in FORMATS_WITH_PTS
            and context.name in DECODERS_THAT_SKIP
            and context.field_order in PROGRESSIVE
            and not clock.shifts
        )
        self.zero_s = clock.zero_s
        self._aspects = (
            self.stream.sample_aspect_ratio,
            context.sample_aspect_ratio,
        )  # of the file, of the first picture
        self.decode_error = ""
        self._last_pts = self._last_dts = float("-inf")
        self._disorder = 0

    def pixel_aspect(self) -> Fraction:
        """Width of a pixel over its height now; where the file does not say and the pictures do, it may change."""
        of_file, of_first = self._aspects
        now = self.stream.codec_context.sample_aspect_ratio
        return Fraction((of_file if now is None or now == of_first else now) or 1)

    def sampled(self, first_may_be_late: bool) -> Iterator[tuple[int, TimedFrame]] | None:
        """Grid positions and the frame on display at each. None where the first frame that decodes lies after the
        span's start and that must not be."""
        frames = self.frames()
        first = next(frames, None)
        is_late = first is None or first[0] > self.grid.start_us + ROUNDING_US
        return None if is_late and not first_may_be_late else self._sampled(first, frames)

    def _sampled(self, first: TimedFrame | None, frames: Iterator[TimedFrame]) -> Iterator[tuple[int, TimedFrame]]:
        if first is None:
            return
        current, shown_us = first, first[0] - PERIOD_US  # the first frame stands in for up to one period before it
        for following in frames:
            yield from self._served(current, shown_us, following[0])
            current, shown_us = following, following[0]
            if self.grid.end_us is not None and shown_us >= self.grid.end_us + ROUNDING_US:
                return
        yield from self._served(current, shown_us, current[0] + self._duration_us(current[1]))

    def _served(self, frame: TimedFrame, shown_us: int, until_us: int) -> Iterator[tuple[int, TimedFrame]]:
        """A frame serves while its own packet is on display, and for less than a period where others are damaged."""
        for position in self.grid.positions(shown_us, until_us):
            time_us = self.grid.time_us(position)
            if not self.is_planned or self.timeline.at(time_us) == frame[0] or abs(time_us - frame[0]) < PERIOD_US:
                yield position, frame

    def _duration_us(self, frame: av.VideoFrame) -> int:
        if frame.duration:
            return min(microseconds(frame.duration * self.time_base), LONGEST_GAP_S * 1_000_000)
        return microseconds(1 / self.stream.average_rate) if self.stream.average_rate else PERIOD_US // 6

    def frames(self) -> Iterator[TimedFrame]:
        """Frames that decode without an error, in presentation order; the others are passed over."""
        context = self.stream.codec_context
        timed = (
            (self._packet_time_us(packet), packet) for packet in placed_packets(self.container, self.stream, self.clock)
        )
        for time_us, packet in self.timeline.read_ahead(timed):
            context.skip_frame = "DEFAULT" if self._is_wanted(time_us) else "NONREF"
            try:
                decoded = packet.decode()
            except FFmpegError as error:
                self.decode_error = self.decode_error or error.strerror
                continue
            for frame in decoded:
                if not frame.is_corrupt:
                    yield self._frame_time_us(frame), frame

    def _packet_time_us(self, packet: av.Packet) -> int | None:
        if packet.pts is None or packet.is_discard:  # discarded by the file's edit list: decoded, never shown
            return None
        return microseconds(packet.pts * self.time_base - self.zero_s)

    def _is_wanted(self, time_us: int | None) -> bool:
        if time_us is None or not self.is_planned:
            return True
        return bool(self.grid.positions(time_us, self.timeline.until(time_us)))

    def _frame_time_us(self, frame: av.VideoFrame) -> int:
        """From the presentation time stamps, or from the decoding ones where those keep better order (AVI), as ffmpeg
        guesses it; frames of a raw stream without any follow one another at the stream's rate."""
        pts, dts = frame.pts, frame.dts
        if pts is None and dts is None:
            self._last_pts = max(self._last_pts, -1) + 1
            return microseconds(self._last_pts / (self.stream.average_rate or 25))
        if pts is not None and dts is not None:
            self._disorder += (pts <= self._last_pts) - (dts <= self._last_dts)
            self._last_pts, self._last_dts = pts, dts
        stamp = dts if pts is None or (dts is not None and self._disorder > 0) else pts
        assert stamp is not None
        return microseconds(stamp * self.time_base - self.zero_s)

    def why_nothing(self) -> Rejected:
        """The reason when no frame of the span could be given."""
        start_s, declared_s = self.grid.start_us / 10**6, containers.duration_s(self.container)
        if not self.grid.positions(self.grid.start_us, self.grid.start_us + PERIOD_US):
            return Rejected(RejectReason.NO_FRAMES, f"the span that begins at {start_s:.3f} s has no length")
        if containers.is_cut_short(self.container.name):
            return Rejected(RejectReason.TRUNCATED, f"the file ends before the frames from {start_s:.3f} s on")
        context = self.stream.codec_context
        if not context.width * context.height:
            detail = f"pictures of no size, or of more than {MOST_PIXELS} pixels"
            return Rejected(RejectReason.DAMAGED_VIDEO, detail)
        if self.decode_error or any(time_us >= self.grid.start_us for time_us in self.timeline.times_us):
            return Rejected(RejectReason.DAMAGED_VIDEO, self.decode_error or "every frame in the span is damaged")
        if max(self.clock.ends_s.values(), default=0.0) > start_s:
            return Rejected(RejectReason.NO_FRAMES, f"the pictures end before {start_s:.3f} s; the sound goes on")
        if declared_s is not None and declared_s > start_s:
            return Rejected(RejectReason.TRUNCATED, f"no frame from {start_s:.3f} s on in a file of {declared_s:.3f} s")
        return Rejected(RejectReason.NO_FRAMES, f"the file ends before {start_s:.3f} s")
