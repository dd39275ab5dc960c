"""Of which files decord 0.6.0 shows the right pictures: H.264 and HEVC in MP4, Matroska and FLV, and what has no B frames there
and in AVI. It numbers pictures by the packets of the file: where the container or the decoder leaves some out, or shows them in
another order than it thinks, it gives neighbours without a word. Each rule below was seen with a made clip (docs/log.md)."""

from collections.abc import Sequence

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from pipeline.media import containers
from pipeline.rejects import Rejected, RejectReason

RIGHT_CONTAINERS = {"mp4", "matroska", "flv", "avi"}
RIGHT_WITH_B_FRAMES = {"h264", "hevc"}

TOLERANCE_S = 0.002
"""decord keeps time stamps as single-precision seconds, some containers as milliseconds."""


def packet_times_s(container: InputContainer, stream: VideoStream) -> np.ndarray:
    """Seconds at which the pictures are to be shown, by the time stamps of their packets, in order.

    Raises Rejected where decord is known to be wrong whatever these are.
    """
    names, codec = set(container.format.name.split(",")), stream.codec_context
    if not names & RIGHT_CONTAINERS:
        raise refused(f"{container.format.name} files")
    if codec.has_b_frames and ("avi" in names or codec.name not in RIGHT_WITH_B_FRAMES):
        raise refused(f"B frames of {codec.name} in {container.format.name}")
    base, times_s, key_s = containers.time_base(stream), list[float](), 0.0
    for packet in containers.packets(container, stream):
        if not packet.size:
            continue
        if not times_s and not packet.is_keyframe:
            raise refused("a file that does not begin with a key frame")
        if packet.is_discard:
            raise refused("an edit list that leaves pictures out")
        if packet.pts is None:
            raise refused("pictures without a time of presentation")
        time_s = float(packet.pts * base)
        key_s = time_s if packet.is_keyframe else key_s
        if codec.name == "hevc" and time_s < key_s:
            raise refused("HEVC whose groups of pictures are open")
        times_s.append(time_s)
    return np.array(sorted(times_s))


def require_same_times(decord_s: Sequence[float] | np.ndarray, wanted_s: np.ndarray) -> None:
    """decord_s: when each picture is shown by decord. Raises Rejected where it has others than the packets say."""
    found_s = np.asarray(decord_s, np.float64)
    if len(found_s) != len(wanted_s):
        raise refused(f"{len(wanted_s)} packets, of which it makes {len(found_s)} pictures")
    from_first_s = wanted_s - wanted_s[:1]
    off_s = np.abs(found_s - found_s[:1] - from_first_s).max(initial=0.0)
    if off_s > TOLERANCE_S + 1e-6 * float(from_first_s.max(initial=0.0)):
        raise refused(f"time stamps that it has {off_s:.3f} s off (an edit list, a clock that wraps)")


def refused(what: str) -> Rejected:
    """For a file that decord is known to read wrongly; `what` completes the sentence."""
    detail = f"decord gives wrong pictures of {what}; label this file with --crops.decoder pyav"
    return Rejected(RejectReason.UNSUPPORTED_CODEC, detail)
