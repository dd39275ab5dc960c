"""The sampling grid t_k = start_s + 0.24 k and what is on display at each t_k: arithmetic, in whole microseconds."""

import bisect
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np

from modeling.sampling import FRAME_PERIOD_S

PERIOD_US = 240_000
ROUNDING_US = 1_000  # Matroska and FLV round time stamps to a millisecond, so a frame may be that late on the grid
REORDER_PACKETS = 32  # H.264 and HEVC show a packet at most 16 packets away from its place in the file


Packet = TypeVar("Packet")

Picture = tuple[int, float, np.ndarray]
"""Grid position k, presentation time in s, HxWx3 uint8 RGB."""


def microseconds(seconds: float | Fraction) -> int:
    return round(seconds * 1_000_000)


@dataclass(frozen=True)
class FrameGrid:
    """Grid times of [start_us, end_us); `end_us` None is a span without an end."""

    start_us: int
    end_us: int | None

    @classmethod
    def of_span(cls, start_s: float, end_s: float | None) -> "FrameGrid":
        return cls(microseconds(start_s), None if end_s is None else microseconds(end_s))

    def time_us(self, position: int) -> int:
        return self.start_us + PERIOD_US * position

    def positions(self, shown_us: int, until_us: int) -> range:
        """Which k a frame on display in [shown_us, until_us) serves. A frame up to 1 ms late is on time."""
        first = math.ceil(Fraction(shown_us - ROUNDING_US - self.start_us, PERIOD_US))
        last = math.ceil(Fraction(until_us - ROUNDING_US - self.start_us, PERIOD_US))
        if self.end_us is not None:
            last = min(last, math.ceil(Fraction(self.end_us - self.start_us, PERIOD_US)))
        return range(max(0, first), max(0, first, last))


def sample_times(start_s: float, end_s: float) -> np.ndarray:
    """Grid times t_k = start_s + 0.24 k below end_s, float64 seconds (K,). A span of 1 s has 5."""
    count = max(0, math.ceil(Fraction(microseconds(end_s) - microseconds(start_s), PERIOD_US)))
    return start_s + FRAME_PERIOD_S * np.arange(count)


class PacketTimeline:
    """Presentation times of a stream's packets, read ahead of the decoder: which one is on display at a time, and so
    which ones need not be decoded at all."""

    def __init__(self):
        self.times_us: list[int] = []

    def at(self, time_us: int) -> int | None:
        """Time stamp of the packet on display at `time_us`; None before the first."""
        after = bisect.bisect_right(self.times_us, time_us + ROUNDING_US)
        return self.times_us[after - 1] if after else None

    def until(self, time_us: int) -> int:
        """When the packet with this time stamp gives way to the next one; a day later if it is the last."""
        after = bisect.bisect_right(self.times_us, time_us)
        return self.times_us[after] if after < len(self.times_us) else time_us + 86_400_000_000

    def read_ahead(self, packets: Iterable[tuple[int | None, Packet]]) -> Iterator[tuple[int | None, Packet]]:
        """The same (time_us, packet) pairs; when one is given out, the time stamp that follows its own is known."""
        waiting = deque()
        for time_us, packet in packets:
            if time_us is not None:
                bisect.insort(self.times_us, time_us)
            waiting.append((time_us, packet))
            if len(waiting) > REORDER_PACKETS:
                yield waiting.popleft()
        yield from waiting
