"""Frames of a span by decord 0.6.0, which brings an FFmpeg of its own, of 2019. The only module that calls it (held by a test).

It is there to compare with: pyav is the decoder that is right in every file. decord counts frames instead of reading their
time stamps one by one, and so gives other pictures than those on display, without a word, where a file has an edit list, lost
its first packets or had its clock set anew, and in AVI. Such files are refused here.
"""

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.media import containers
from pipeline.media.clock import MediaClock, whole_clock_of
from pipeline.media.frame_grid import PERIOD_US, FrameGrid, Picture, microseconds
from pipeline.media.probe import probe
from pipeline.media.upright import display_matrix, is_mirrored, scaled_size
from pipeline.media.video_stream import FORMATS_WITH_PTS, VideoStream
from pipeline.rejects import Rejected, RejectReason

AGREES_US = 2_000
"""Both read the same time stamps; decord keeps them as seconds in single precision."""


def decode_with_decord(path: str | Path, grid: FrameGrid, longest_side_px: int | None) -> Iterator[Picture]:
    """decord reads every time stamp of the file first, and then goes from key frame to key frame. Raises Rejected DAMAGED_VIDEO
    for a file in which it is known to be wrong."""
    import decord

    info, clock = probe(path), whole_clock_of(str(path))
    packets_us = _packet_times_us(path, clock)
    height, width = scaled_size(info.height, info.width, longest_side_px)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=width, height=height, num_threads=1)
        stamps_us = np.round(reader.get_frame_timestamp(range(len(reader))) * 1e6).astype(np.int64)
    except Exception as error:
        raise _refused(str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__) from error
    if len(stamps_us) != len(packets_us):
        raise _refused(f"it finds {len(stamps_us)} frames, the file has {len(packets_us)}")
    shown_us = packets_us[0] + stamps_us
    if np.abs(shown_us[:, 0] - packets_us).max() > AGREES_US:
        raise _refused("its time stamps are not those of the file")
    bounds_us = [shown_us[0, 0] - PERIOD_US, *shown_us[1:, 0], round(clock.ends_s["video"] * 10**6)]
    served = [
        (position, index)
        for index, (from_us, until_us) in enumerate(itertools.pairwise(bounds_us))
        for position in grid.positions(int(from_us), int(until_us))
    ]
    try:
        images = reader.get_batch([index for _, index in served]).asnumpy() if served else []
    except Exception as error:
        raise _refused(str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__) from error
    for (position, index), image in zip(served, images, strict=True):
        yield position, float(shown_us[index, 0]) / 10**6, image


def _packet_times_us(path: str | Path, clock: MediaClock) -> np.ndarray:
    """Of all packets, in order of presentation. Raises Rejected for a file that decord reads wrongly."""
    with containers.open_container(path) as container:
        if container.format.name not in FORMATS_WITH_PTS:
            raise _refused(f"it cannot be relied on in {container.format.name}")
        if clock.shifts:
            raise _refused(f"the clock starts again at {clock.restarts_s[0]:.3f} s")
        video = VideoStream(container, FrameGrid(0, None), clock)
        base = containers.time_base(video.stream)
        packets = [packet for packet in containers.packets(container, video.stream) if packet.size]
    if not packets:
        raise Rejected(RejectReason.DAMAGED_VIDEO, "the video stream holds no packets")
    _require_plain(path, packets, clock)
    return np.sort([microseconds(Fraction(packet.pts or 0) * base - clock.zero_s) for packet in packets])


def _require_plain(path: str | Path, packets: list[av.Packet], clock: MediaClock) -> None:
    if any(packet.is_discard or packet.pts is None for packet in packets):
        raise _refused("the file has an edit list, or frames without a time stamp")
    if not packets[0].is_keyframe:
        raise _refused("the file lacks its first key frame")
    with containers.open_container(path) as container:
        first = next(VideoStream(container, FrameGrid(0, None), clock).frames(), None)
    if first is not None and is_mirrored(display_matrix(first[1])):
        raise _refused("the picture is mirrored by a display matrix")


def _refused(why: str) -> Rejected:
    return Rejected(RejectReason.DAMAGED_VIDEO, f"decord: {why}; label it with --crops.decoder pyav")
