"""Frames of a span by decord 0.6.0, which brings an FFmpeg of its own, of 2019. The only module that calls it (held by a test).

It is there to compare with: pyav is the decoder that is right in every file. decord counts frames instead of reading their
time stamps one by one, and so gives other pictures than those on display, without a word, where a file has an edit list, lost
its first packets or had its clock set anew, and elsewhere. Such files are refused here (`decord_check.py`).
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.media import containers
from pipeline.media.clock import MediaClock, whole_clock_of
from pipeline.media.decord_check import packet_times_s, refused, require_same_times
from pipeline.media.frame_grid import PERIOD_US, FrameGrid, Picture, microseconds
from pipeline.media.probe import probe
from pipeline.media.upright import display_matrix, is_mirrored, scaled_size
from pipeline.media.video_stream import VideoStream
from pipeline.rejects import Rejected, RejectReason


def decode_with_decord(path: str | Path, grid: FrameGrid, longest_side_px: int | None) -> Iterator[Picture]:
    """decord reads every time stamp of the file first, and then goes from key frame to key frame. Raises Rejected for a
    file in which it is known to be wrong."""
    import decord

    info, clock = probe(path), whole_clock_of(str(path))
    packets_s = _packet_times_s(path, clock)
    height, width = scaled_size(info.height, info.width, longest_side_px)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), width=width, height=height, num_threads=1)
        shown_s = reader.get_frame_timestamp(range(len(reader)))
    except Exception as error:
        raise _failed(error) from error
    require_same_times(shown_s[:, 0], packets_s)
    first_us = microseconds(float(packets_s[0] - clock.zero_s))
    shown_us = first_us + np.round((shown_s - shown_s[0, 0]) * 1e6).astype(np.int64)
    bounds_us = [shown_us[0, 0] - PERIOD_US, *shown_us[1:, 0], round(clock.ends_s["video"] * 10**6)]
    served = [
        (position, index)
        for index, (from_us, until_us) in enumerate(itertools.pairwise(bounds_us))
        for position in grid.positions(int(from_us), int(until_us))
    ]
    try:
        images = reader.get_batch([index for _, index in served]).asnumpy() if served else []
    except Exception as error:
        raise _failed(error) from error
    for (position, index), image in zip(served, images, strict=True):
        yield position, float(shown_us[index, 0]) / 10**6, image


def _packet_times_s(path: str | Path, clock: MediaClock) -> np.ndarray:
    """Of all packets, in order of presentation. Raises Rejected for a file that decord reads wrongly."""
    if clock.shifts:
        raise refused(f"a file whose clock starts again at {clock.restarts_s[0]:.3f} s")
    with containers.open_container(path) as container:
        packets_s = packet_times_s(container, containers.best_stream(container, "video"))
    if not len(packets_s):
        raise Rejected(RejectReason.DAMAGED_VIDEO, "the video stream holds no packets")
    with containers.open_container(path) as container:
        first = next(VideoStream(container, FrameGrid(0, None), clock).frames(), None)
    if first is not None and is_mirrored(display_matrix(first[1])):
        raise refused("a picture that a display matrix mirrors")
    return packets_s


def _failed(error: Exception) -> Rejected:
    said = str(error).strip().splitlines() or [type(error).__name__]
    return Rejected(RejectReason.DAMAGED_VIDEO, said[-1])
