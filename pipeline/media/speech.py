"""Speech of a span: mono, 16 kHz, 16 bit. The only module that decodes an audio stream (held by a test).

The samples cover exactly the span on the media clock of `pipeline/media/containers.py`, the clock of the frames, and are those
that `ffmpeg -ac 1 -ar 16000` writes. Where an AAC encoder replaced high bands by noise (PNS), the decoder draws that
noise anew, so after a seek these bands differ from a whole decode; so they do in ffmpeg.
"""

import math
import os
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from modeling.sampling import INT16_SCALE, SAMPLE_RATE_HZ, VIDEO_FRAME_RATE
from pipeline.media import containers
from pipeline.media.clock import clock_of, placed_packets
from pipeline.media.limits import LEAST_SOUND_BYTES_PER_S, LEAST_SPEECH_S
from pipeline.media.resampler import Resampler, first_channel, is_broken, without_head
from pipeline.rejects import Rejected, RejectReason

SILENCE_DB = -60.0  # mean level below which a clip holds no speech
STUDIO_SILENCE_DB = -80.0
"""The same for recordings known to be speech: seven quiet ones of RAVDESS, all calm, sad or afraid, are at -60 to -64 dB."""
DIGITAL_SILENCE_DB = -91.0  # what ffmpeg's volumedetect gives for nothing but zeros

PRE_ROLL_S = Fraction(1, 2)  # decoded before the span and dropped: MP3, AAC and Opus frames lean on earlier ones
GAP_S = (
    1 / VIDEO_FRAME_RATE + 1e-6
)  # a jump of the time stamps by more than one video frame is a gap; less is their rounding

WITHOUT_CLOCK = {"aac", "ac3", "amr", "amrnb", "amrwb", "dts", "eac3", "mp3"}
"""Formats that hold no time stamps: ffmpeg counts them by the first frame's rate, so that they are wrong where that changes."""

Segment = tuple[int, np.ndarray]
"""First sample of a piece, counted at 16 kHz from time 0 of the media clock, and the piece, int16."""


def read_speech(path: str | Path, start_s: float, end_s: float | None) -> np.ndarray:
    """int16 (n,) mono at 16 kHz of [start_s, end_s); end_s None is the end of the audio.

    n is round(end_s * 16000) - round(start_s * 16000), or less where the audio ends more than a video frame earlier.
    Time before the audio's first sample, and stretches that cannot be decoded, are zeros. Memory is that of the span.

    Raises Rejected: NO_AUDIO_STREAM, DAMAGED_AUDIO, and what `containers.open_container` finds.
    """
    start = round(start_s * SAMPLE_RATE_HZ)
    end = None if end_s is None else round(end_s * SAMPLE_RATE_HZ)
    with containers.open_container(path) as container:
        audio = _AudioStream(container)
        pieces = [_clipped(segment, start, end) for segment in audio.segments(start_s, end)]
        if not audio.has_decoded and (audio.decode_error or audio.is_declared_at(start_s)):
            raise Rejected(RejectReason.DAMAGED_AUDIO, audio.decode_error or "the audio stream holds no samples")
        stop = max((first + len(samples) for first, samples in pieces if len(samples)), default=start)
        stop -= audio.padding(stop)
        if end is not None and (end - stop <= GAP_S * SAMPLE_RATE_HZ or audio.is_later_than(end)):
            stop = end
    speech = np.zeros(stop - start, np.int16)
    for first, samples in pieces:
        speech[first - start : first - start + len(samples)] = samples[: max(0, stop - first)]
    return speech


def stream_speech(path: str | Path) -> Iterator[np.ndarray]:
    """The whole file as `read_speech(path, 0, None)` gives it, in int16 pieces; decoded once from start to end, so that
    an hour takes the memory of a second and no file's index is needed.

    Where time stamps jump back, the sound goes on without a gap. Raises Rejected as `read_speech` does, and BEYOND_LIMITS where
    so few bytes cannot hold so much.
    """
    held, position = np.zeros(0, np.int16), 0
    most_samples = os.path.getsize(path) * SAMPLE_RATE_HZ // LEAST_SOUND_BYTES_PER_S if os.path.exists(path) else 0
    with containers.open_container(path) as container:
        audio = _AudioStream(container)
        segment_end = None
        for first, samples in audio.segments(0, None):
            gap = first - position if first != segment_end else 0
            if position + max(0, gap) + len(samples) > most_samples:
                detail = f"more than {most_samples / SAMPLE_RATE_HZ:.0f} s of sound in {os.path.getsize(path)} bytes"
                raise Rejected(RejectReason.BEYOND_LIMITS, detail)
            for silence in _zeros(gap):
                position += len(silence)
                held = yield from _all_but_a_second(held, silence)
            position += len(samples)
            segment_end = first + len(samples)
            held = yield from _all_but_a_second(held, samples)
        if not audio.has_decoded and (audio.decode_error or audio.is_declared_at(0)):
            raise Rejected(RejectReason.DAMAGED_AUDIO, audio.decode_error or "the audio stream holds no samples")
        yield held[: len(held) - audio.padding(position)]


def read_at_native_rate(path: str | Path, most_samples: int) -> np.ndarray:
    """int16 (n,) of the left channel at the file's own rate, up to `most_samples` of them.

    The authors' released code reads external corpora so (compute_audio_feats.m: `audioread` without resampling) and takes the
    samples as if they were at 16 kHz: sound of 48 kHz becomes three times as long and low. For comparison only; `read_speech`
    is the right way. Raises Rejected as `read_speech` does.
    """
    pieces, count = [], 0
    with containers.open_container(path) as container:
        for frame in _AudioStream(container).frames():
            pieces.append(first_channel(frame))
            count += frame.samples
            if count >= most_samples:
                break
    if not pieces:
        raise Rejected(RejectReason.DAMAGED_AUDIO, "the audio stream holds no samples")
    return np.concatenate(pieces)[:most_samples]


def _zeros(samples: int) -> Iterator[np.ndarray]:
    """As many zeros, a second at a time; none below 1."""
    for start in range(0, samples, SAMPLE_RATE_HZ):
        yield np.zeros(min(SAMPLE_RATE_HZ, samples - start), np.int16)


def _all_but_a_second(held: np.ndarray, samples: np.ndarray) -> Generator[np.ndarray, None, np.ndarray]:
    """Passes on what lies more than a second back; returns the rest, whose end may prove to be padding."""
    held = np.concatenate([held, samples])
    if len(held) < 2 * SAMPLE_RATE_HZ:
        return held
    yield held[:-SAMPLE_RATE_HZ]
    return held[-SAMPLE_RATE_HZ:]


def _clipped(segment: Segment, start: int, end: int | None) -> Segment:
    first, samples = segment
    kept = samples[max(0, start - first) : None if end is None else max(0, end - first)]
    return max(first, start), kept


class _AudioStream:
    """The audio stream of an open container, resampled piece by piece."""

    def __init__(self, container: InputContainer):
        self.container = container
        self.clock = clock_of(container)
        self.stream = containers.best_stream(container, "audio")
        self.zero_s = self.clock.zero_s
        starts_s = containers.starts_s(self.stream)
        self.first_s = self.zero_s if starts_s is None else starts_s
        self.is_counted = container.format.name in WITHOUT_CLOCK or self._has_wrong_stamps()
        self.decode_error = ""
        self.has_decoded = False
        self.last_frame = 0, SAMPLE_RATE_HZ  # samples and rate

    def padding(self, stop: int) -> int:
        """How many 16 kHz samples before `stop` the encoder added to fill its last frame; only an mp4 tells."""
        if "mp4" not in self.container.format.name or self.stream.duration is None:
            return 0
        end_s = self.first_s - self.zero_s + self.stream.duration * containers.time_base(self.stream)
        surplus = stop - round(end_s * SAMPLE_RATE_HZ)
        return surplus if 0 < surplus < Fraction(*self.last_frame) * SAMPLE_RATE_HZ else 0

    def is_later_than(self, sample: int) -> bool:
        """The audio begins after this 16 kHz sample of the media clock."""
        return self.clock.begins_s.get(self.stream.index, 0.0) * SAMPLE_RATE_HZ >= sample - 1

    def is_declared_at(self, time_s: float) -> bool:
        if self.stream.duration is None:
            return True
        return self.first_s - self.zero_s + self.stream.duration * containers.time_base(self.stream) > time_s

    def segments(self, start_s: float, end: int | None) -> Iterator[Segment]:
        """Resampled pieces in order, from a little before `start_s` to the 16 kHz sample `end` or somewhat later."""
        resampler, next_sample = None, 0
        # start of a segment and its length: a clock since 1970 rounds their sum
        begun_s, length_s = float(self.first_s), 0.0
        sought = self._seek(start_s)
        for frame in self.frames():
            stamped_s = (
                None if self.is_counted and resampler is not None else frame.time
            )  # Fractions take longer than decoding
            at_s = begun_s + length_s if stamped_s is None else stamped_s
            is_gap = abs(at_s - begun_s - length_s) > GAP_S
            if resampler is not None and (is_gap or not resampler.fits(frame)):
                yield next_sample, resampler.rest()
                resampler = None
                if not is_gap:
                    stamped_s, at_s = None, begun_s + length_s
            self.last_frame = frame.samples, frame.sample_rate
            if resampler is None:
                begun_s, length_s = at_s, 0.0
            length_s += frame.samples / frame.sample_rate
            if resampler is None:
                pts, base = frame.pts, frame.time_base
                exact_s = Fraction(at_s) if stamped_s is None or pts is None or base is None else pts * base
                skipped = self._to_common_phase(exact_s, frame.sample_rate) if sought else 0
                if skipped >= frame.samples:
                    continue
                begin_s, sought = exact_s + Fraction(skipped, frame.sample_rate), False
                next_sample = round((begin_s - self.zero_s) * SAMPLE_RATE_HZ)
                resampler = Resampler(frame)
                frame = without_head(frame, skipped)
            samples = resampler.resampled(frame)
            yield next_sample, samples
            next_sample += len(samples)
            if end is not None and next_sample >= end:
                return
        if resampler is not None:
            yield next_sample, resampler.rest()

    def _seek(self, start_s: float) -> bool:
        """True if it went anywhere; where the clock starts again, no place can be sought. Far enough back for the pre-roll and
        for one common period of both rates."""
        rate = self.stream.codec_context.sample_rate or SAMPLE_RATE_HZ
        target_s = self.zero_s + Fraction(start_s) - PRE_ROLL_S - Fraction(1, math.gcd(rate, SAMPLE_RATE_HZ))
        if target_s <= self.first_s or self.clock.shifts or self._is_packed() or self._has_wrong_stamps():
            return False
        containers.seek(self.container, self.stream, target_s)
        return True

    def _is_packed(self) -> bool:
        """A wav, or RealAudio, of a codec whose packets the container does not count: a place in it is found by reading all
        that comes before."""
        codec = self.stream.codec_context.name
        return self.container.format.name in ("wav", "rm") and not codec.startswith("pcm_")

    def _has_wrong_stamps(self) -> bool:
        """RealAudio 14.4, whose packets are all stamped 0, and a FLAC of which the header is not found (1/192000 s is ffmpeg's
        guess at the unit)."""
        is_headless = self.container.format.name == "flac" and self.stream.duration is None
        return is_headless or self.stream.codec_context.name == "real_144"

    def _to_common_phase(self, at_s: Fraction, rate: int) -> int:
        """Samples to leave out so that the resampler starts where a 16 kHz sample and an input sample coincide, as
        they do at the stream's start: then a span has the very samples of the whole file."""
        since_start = round((at_s - self.first_s) * rate)
        return -since_start % (rate // math.gcd(rate, SAMPLE_RATE_HZ))

    def frames(self) -> Iterator[av.AudioFrame]:
        """Frames as they decode; damaged packets are passed over. Raises Rejected DAMAGED_AUDIO for NaN or infinity."""
        for packet in placed_packets(self.container, self.stream, self.clock):
            try:
                frames = packet.decode()
            except FFmpegError as error:
                self.decode_error = self.decode_error or error.strerror
                continue
            if any(is_broken(frame) for frame in frames):
                raise Rejected(RejectReason.DAMAGED_AUDIO, "the sound holds NaN or infinity")
            self.has_decoded = self.has_decoded or bool(frames)
            yield from frames


def mean_level_db(samples: np.ndarray) -> float:
    """RMS of int16 samples in dB re full scale, as ffmpeg's volumedetect gives it; zeros, or no samples, are -91.0."""
    power = np.mean(np.square(samples, dtype=np.float64)) / INT16_SCALE**2 if len(samples) else 0.0
    return max(DIGITAL_SILENCE_DB, 10 * math.log10(power)) if power else DIGITAL_SILENCE_DB


def require_speech(samples: np.ndarray, silence_db: float = SILENCE_DB) -> None:
    """Raises Rejected TOO_SHORT below one second, SILENT below a mean level."""
    seconds = len(samples) / SAMPLE_RATE_HZ
    if seconds < LEAST_SPEECH_S:
        raise Rejected(RejectReason.TOO_SHORT, f"{seconds:.3f} s of sound; the least is {LEAST_SPEECH_S:g} s")
    level_db = mean_level_db(samples)
    if level_db < silence_db:
        raise Rejected(RejectReason.SILENT, f"mean level {level_db:.1f} dB; silence is below {silence_db:g} dB")
