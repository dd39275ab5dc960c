"""How long a file is, by what is there: `emovox index` cuts it by that. What a header claims is compared, never believed.

A file with pictures is as long as these are: sound beyond its last picture has no face to learn from.
"""

import os
from fractions import Fraction
from typing import BinaryIO

from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from pipeline.media import containers
from pipeline.media.clock import scanned, whole_clock_of
from pipeline.media.limits import DISCONTINUOUS, LEAST_BYTES_PER_S
from pipeline.rejects import Rejected, RejectReason

READ_WHOLE_BYTES = 256 * 2**20
READ_WHOLE_FAR_BYTES = 2**20
"""Up to so many bytes, here and in an object store, all packets are read; of a larger file only those near its end, unless
these are not where the header claims. Of an mp4 in an object store its index is read instead."""

AGREES_S = 1.0
"""A last packet so near to the end that the header claims confirms it."""

LAST_LOOK_S = 1


def length_s(path: str) -> float | None:
    """Of a file on this machine, in seconds above 0; None for one without packets or with useless time stamps.

    Raises Rejected as `containers.open_container`, and BEYOND_LIMITS where so few bytes cannot be so long.
    """
    size_bytes = os.path.getsize(path)
    if size_bytes > READ_WHOLE_BYTES:
        with containers.open_container(path) as container:
            seen_s = _seen_at_end_s(container, size_bytes)
        if seen_s is not None:
            return seen_s
    return _believed_s(_end_of_file_s(path), size_bytes)


def _end_of_file_s(path: str) -> float | None:
    """Of an mp4 that is cut short its index says how long it was: what is missing is to be a reject, and not forgotten."""
    end_s = _leading_s(whole_clock_of(path).ends_s)
    if containers.is_cut_short(path):
        with containers.open_container(path) as container:
            return max(end_s or 0.0, containers.duration_s(container) or 0.0) or None
    return end_s


def length_by_looks_s(file: BinaryIO, size_bytes: int) -> float | None:
    """Of a file of which the bytes that are asked for are fetched from afar. None where all of it, on this machine, has to
    say more: why it cannot be opened, or where it really ends."""
    try:
        with containers.opened_file(file) as container:
            if (indexed_s := _indexed_s(container, size_bytes)) is not None:
                return _believed_s(indexed_s, size_bytes)
            if size_bytes > READ_WHOLE_FAR_BYTES:
                return _seen_at_end_s(container, size_bytes)
            ends_s = scanned(container).ends_s
            is_confirmed = max(ends_s.values(), default=0.0) >= (containers.duration_s(container) or 0.0) - AGREES_S
            return _believed_s(_leading_s(ends_s), size_bytes) if is_confirmed else None
    except (FFmpegError, Rejected):
        return None


def _leading_s(ends_s: dict[str, float]) -> float | None:
    return ends_s.get("video", ends_s.get("audio"))


def _believed_s(seconds: float | None, size_bytes: int) -> float | None:
    if seconds is not None and seconds <= 0:
        return None
    if seconds is not None and seconds > size_bytes / LEAST_BYTES_PER_S:
        detail = f"time stamps of {seconds:.0f} s in {size_bytes} bytes, fewer than {LEAST_BYTES_PER_S} a second"
        raise Rejected(RejectReason.BEYOND_LIMITS, detail)
    return seconds


def _indexed_s(container: InputContainer, size_bytes: int) -> float | None:
    """By the index of an mp4, which places every packet, in time and in the file; None where it has none, or where a packet
    would lie beyond the file's end or far from the end that is claimed."""
    if not container.format.name.startswith("mov,"):
        return None
    streams, leading = _streams_and_leading(container)
    if leading is None or leading.duration is None or (starts_s := containers.starts_s(leading)) is None:
        return None
    if any(entry.pos + entry.size > size_bytes for stream in streams for entry in stream.index_entries):
        return None
    zero_s, base = containers.clock_zero_s(container), containers.time_base(leading)
    last_s = max((entry.timestamp for entry in leading.index_entries), default=-1) * base - zero_s
    end_s = starts_s - zero_s + leading.duration * base
    return float(end_s) if last_s >= 0 and 0 <= end_s - last_s <= AGREES_S else None


def _streams_and_leading(container: InputContainer) -> tuple[list[Stream], Stream | None]:
    """The playable streams, and the one whose end is the file's: that of the pictures that are decoded, else of the sound."""
    streams, decoded = containers.playable_streams(container), containers.decoded_streams(container)
    of_kind = {stream.type: stream for stream in streams if stream.index in decoded}
    return streams, of_kind.get("video", of_kind.get("audio"))


def _seen_at_end_s(container: InputContainer, size_bytes: int) -> float | None:
    """Where the last packet near the claimed end ends; None where that is elsewhere or cannot be gone to."""
    claimed_s = containers.duration_s(container)
    if claimed_s is None or container.format.name in DISCONTINUOUS or claimed_s > size_bytes / LEAST_BYTES_PER_S:
        return None
    _, leading = _streams_and_leading(container)
    if leading is None:
        return None
    zero_s = containers.clock_zero_s(container)
    containers.seek(container, leading, zero_s + Fraction(max(0.0, claimed_s - LAST_LOOK_S)))
    ends_s = scanned(container).ends_s
    is_confirmed = bool(ends_s) and abs(max(ends_s.values()) - claimed_s) <= AGREES_S
    return _believed_s(ends_s.get(leading.type), size_bytes) if is_confirmed else None
