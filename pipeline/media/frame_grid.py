"""The sampling grid t_k = start_s + 0.24 k, and the frame on display at each t_k. Arithmetic in whole microseconds."""

import bisect
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np

from modeling.sampling import FRAME_PERIOD_S

PERIOD_US = round(1_000_000 * FRAME_PERIOD_S)
ROUNDING_US = 1_000  # Matroska and FLV round time stamps to milliseconds, so a frame may be this late for the grid
REORDER_PACKETS = 32  # H.264 and HEVC display a packet at most 16 packets away from its place in the file


Packet = TypeVar("Packet")

Picture = tuple[int, float, np.ndarray]
"""Grid position k, presentation time in s, HxWx3 uint8 RGB."""


def microseconds(seconds: float | Fraction) -> int:
    return round(seconds * 1_000_000)


@dataclass(frozen=True)
class FrameGrid:
    """Grid times in [start_us, end_us); with `end_us` None the span has no end."""

    start_us: int
    end_us: int | None

    @classmethod
    def of_span(cls, start_s: float, end_s: float | None) -> "FrameGrid":
        return cls(microseconds(start_s), None if end_s is None else microseconds(end_s))

    def time_us(self, position: int) -> int:
        return self.start_us + PERIOD_US * position

    def positions(self, shown_us: int, until_us: int) -> range:
        """The positions k at which a frame displayed in [shown_us, until_us) is used. A frame up to 1 ms late is on time."""
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
    """Presentation times of a stream's packets, read ahead of the decoder. They tell which packet is on display at a time,
    and so which packets need not be decoded."""

    def __init__(self):
        self.times_us: list[int] = []

    def at(self, time_us: int) -> int | None:
        """Time stamp of the packet on display at `time_us`; None before the first."""
        after = bisect.bisect_right(self.times_us, time_us + ROUNDING_US)
        return self.times_us[after - 1] if after else None

    def until(self, time_us: int) -> int:
        """When the next packet replaces the one with this time stamp; a day later if it is the last."""
        after = bisect.bisect_right(self.times_us, time_us)
        return self.times_us[after] if after < len(self.times_us) else time_us + 86_400_000_000

    def read_ahead(self, packets: Iterable[tuple[int | None, Packet]]) -> Iterator[tuple[int | None, Packet]]:
        """Passes on the (time_us, packet) pairs; when one is yielded, the next time stamp in display order is known."""
        waiting = deque()
        for time_us, packet in packets:
            if time_us is not None:
                bisect.insort(self.times_us, time_us)
            waiting.append((time_us, packet))
            if len(waiting) > REORDER_PACKETS:
                yield waiting.popleft()
        yield from waiting
