"""The clock of a media file: where its time 0 lies, where it was set anew, and where picture and sound end.

All packets are read once for it, without decoding. What a header claims is not asked: it may be of another recording. (The
one exception is a short mp4 that is to be decoded.)

Where the clock starts again (joined recordings) or jumps (a camera that got the time), the file goes on where it was, as the
ffmpeg program shows it. A packet's place is then its time stamp and the shift of the last such place before it.
"""

import bisect
import functools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Stream

from pipeline.media import containers
from pipeline.media.frame_grid import microseconds
from pipeline.media.limits import DISCONTINUOUS, LONGEST_GAP_OF_STREAMS_S, LONGEST_GAP_S, RESTART_US

FILES_KNOWN = 64
"""Clocks that a process remembers: an utterance's file is asked for its picture, its sound, and by its neighbours."""


@dataclass(frozen=True)
class MediaClock:
    """zero_s: time 0 in the container's own time. ends_s: by kind of stream, where the last packet of the one that is decoded
    ends, seconds on the media clock; absent where there is none. begins_s: by index of a stream, where its first packet
    begins. restarts_s: where the clock was set anew, seconds on the media clock.

    shifts: by index of a stream, (number of a packet, microseconds that are added to the time stamps from it on), rising.
    """

    zero_s: Fraction
    ends_s: dict[str, float] = field(default_factory=dict)
    begins_s: dict[int, float] = field(default_factory=dict)
    restarts_s: tuple[float, ...] = ()
    shifts: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def shift_us(self, stream_index: int, packet: int) -> int:
        """What is added to the time stamps of a stream's packet of that number."""
        shifts = self.shifts.get(stream_index, [])
        at = bisect.bisect_right(shifts, packet, key=lambda shift: shift[0])
        return shifts[at - 1][1] if at else 0


def clock_of(container: InputContainer) -> MediaClock:
    """Of an open file, which is not read. An mp4's own index is enough where it is too short for a jump: reading all packets
    would take a tenth of the decoder's time. Raises Rejected as `containers.open_container`."""
    return _clock_by_index(container) or whole_clock_of(container.name)


def _clock_by_index(container: InputContainer) -> MediaClock | None:
    length_s = containers.duration_s(container)
    if not container.format.name.startswith("mov,") or length_s is None or not 0 < length_s <= LONGEST_GAP_S:
        return None
    zero_s = containers.clock_zero_s(container)
    begins_s, ends_s, read = {}, {}, containers.decoded_streams(container)
    for stream in containers.playable_streams(container):
        starts_s = containers.starts_s(stream)
        if starts_s is None or stream.duration is None:
            return None
        begins_s[stream.index] = float(starts_s - zero_s)
        end_s = float(starts_s - zero_s + stream.duration * containers.time_base(stream))
        if stream.index in read:
            ends_s[stream.type] = end_s
    return MediaClock(zero_s, ends_s, begins_s)


def whole_clock_of(path: str) -> MediaClock:
    """Of a file on this machine, by all its packets. Raises Rejected as `containers.open_container`."""
    status = containers.regular_file(Path(path))
    return _clock_of(path, status.st_size, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(FILES_KNOWN)
def _clock_of(path: str, *_version: int) -> MediaClock:
    with containers.open_container(path) as container:
        return scanned(container)


def scanned(container: InputContainer) -> MediaClock:
    """The clock by the packets from where the container stands to its end."""
    streams = containers.playable_streams(container)
    zero_s = containers.clock_zero_s(container)
    reading = _Reading(
        microseconds(zero_s), _longest_gap_s(container) * 1_000_000, containers.decoded_streams(container)
    )
    for packet in containers.packets(container, *streams):
        reading.add(packet)
    return reading.clock(zero_s)


def _longest_gap_s(container: InputContainer) -> int:
    return LONGEST_GAP_OF_STREAMS_S if container.format.name in DISCONTINUOUS else LONGEST_GAP_S


def placed_packets(container: InputContainer, stream: Stream, clock: MediaClock) -> Iterator[av.Packet]:
    """The stream's packets from the file's beginning, or, where the clock has no shifts, from where the container stands;
    time stamps without the jumps of the clock. As `containers.packets`, the flushing one comes last."""
    per_us = 1 / (1_000_000 * containers.time_base(stream))
    for number, packet in enumerate(containers.packets(container, stream)):
        if clock.shifts and (by_us := clock.shift_us(stream.index, number)):
            ticks = round(by_us * per_us)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        yield packet


class _Reading:
    """What is known of a file's clock as its packets come by; times in microseconds."""

    def __init__(self, zero_us: int, longest_gap_us: int, read: frozenset[int]):
        """read: indices of the streams that are decoded, whose ends count."""
        self.zero_us, self.longest_gap_us, self.read = zero_us, longest_gap_us, read
        self.bys_us = [0]  # of each run of the clock, what is added to its time stamps
        self.run: dict[int, int] = {}  # in which of them each stream is
        self.shifts: dict[int, list[tuple[int, int]]] = {}
        self.restarts_us: list[int] = []
        self.counts: Counter[int] = Counter()
        self.last_us: dict[int, int] = {}  # decoding time of each stream's last packet
        self.furthest_us: int | None = None
        self.begins_us: dict[int, int] = {}
        self.ends_us: dict[str, int] = {}

    def clock(self, zero_s: Fraction) -> MediaClock:
        """zero_s: as the file says; where a stream begins far before that, it is wrong (a clock of 33 bits that overflowed)."""
        earliest_us = min(self.begins_us.values(), default=self.zero_us)
        if earliest_us < self.zero_us - RESTART_US:
            self.zero_us, zero_s = earliest_us, Fraction(earliest_us, 10**6)
        ends_s = {kind: (end_us - self.zero_us) / 10**6 for kind, end_us in self.ends_us.items()}
        restarts_s = tuple((at_us - self.zero_us) / 10**6 for at_us in self.restarts_us)
        begins_s = {index: (begin_us - self.zero_us) / 10**6 for index, begin_us in self.begins_us.items()}
        return MediaClock(zero_s, ends_s, begins_s, restarts_s, self.shifts)

    def add(self, packet: av.Packet) -> None:
        """Decoding times tell whether the clock goes on, times of presentation where it does. Where there is no decoding time,
        as for the first packets of H.264 in Matroska, the clock is not asked: with B pictures, times of presentation go back."""
        index, kind = packet.stream_index, packet.stream.type
        shown = packet.dts if packet.pts is None else packet.pts
        if shown is not None:
            base = containers.time_base(packet.stream)
            ticks, per = 1_000_000 * base.numerator, base.denominator
            shown_us = shown * ticks // per
            length_us = (packet.duration or 0) * ticks // per
            if packet.dts is None:
                decoded_us, by_us = shown_us, self.bys_us[self.run.get(index, 0)]
            else:
                decoded_us = packet.dts * ticks // per
                by_us = self._by_us(index, decoded_us, shown_us)
                self.last_us[index] = decoded_us + by_us
            is_meant = length_us <= self.longest_gap_us and abs(shown_us - decoded_us) <= self.longest_gap_us
            end_us = shown_us + by_us + length_us if is_meant else decoded_us + by_us
            self.furthest_us = end_us if self.furthest_us is None else max(self.furthest_us, end_us)
            if not packet.is_discard:  # as those before the beginning that an edit list names
                self.begins_us[index] = min(self.begins_us.get(index, shown_us + by_us), shown_us + by_us)
                if index in self.read:
                    self.ends_us[kind] = max(self.ends_us.get(kind, end_us), end_us)
        self.counts[index] += 1

    def _by_us(self, index: int, decoded_us: int, shown_us: int) -> int:
        """What is added to a packet's time stamps: as before, as to those of the stream that first had the clock set anew, or, if
        it is the first itself, so that it is shown behind all that came before."""
        newest = len(self.bys_us) - 1
        for run in dict.fromkeys((self.run.get(index, newest), newest)):
            if self._goes_on(index, decoded_us + self.bys_us[run]):
                break
        else:
            assert self.furthest_us is not None
            run = newest + 1
            self.bys_us.append(self.furthest_us - shown_us)
            self.restarts_us.append(self.furthest_us)
        if run != self.run.get(index, 0):
            self.shifts.setdefault(index, []).append((self.counts[index], self.bys_us[run]))
        self.run[index] = run
        return self.bys_us[run]

    def _goes_on(self, index: int, at_us: int) -> bool:
        if self.furthest_us is None:
            return True
        last_us = self.last_us.get(index, at_us)
        return last_us - RESTART_US <= at_us <= self.furthest_us + self.longest_gap_us
