"""Decoded sound of one kind (sample format, channels, rate) to 16 kHz, mono, 16 bit. The only module that resamples (held by a
test).

Channels are mixed as ffmpeg does it for their layout. Where there is no mix for it (9 channels of a microphone array,
ambisonics), their mean is taken.
"""

import functools
import math
from typing import Any, cast

import av
import numpy as np
from av.audio.plane import AudioPlane
from av.error import FFmpegError

from modeling.sampling import SAMPLE_RATE_HZ

SAMPLE_TYPES: dict[str, tuple[type[np.generic], float, float]] = {  # by ffmpeg's name without "p": zero and full scale
    "u8": (np.uint8, 128, 2**7),
    "s16": (np.int16, 0, 2**15),
    "s32": (np.int32, 0, 2**31),
    "s64": (np.int64, 0, 2**63),
    "flt": (np.float32, 0, 1),
    "dbl": (np.float64, 0, 1),
}

FLOATS = {"flt", "dbl"}


class Resampler:
    """For frames of one kind, that of `first`."""

    def __init__(self, first: av.AudioFrame):
        self.kind = _kind(first)
        self.is_averaged = not _has_mix(first.layout.name)
        self.resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ)

    def fits(self, frame: av.AudioFrame) -> bool:
        return _kind(frame) == self.kind

    def resampled(self, frame: av.AudioFrame) -> np.ndarray:
        """int16 (n,)."""
        if self.is_averaged:
            frame = _mono(channels(frame).mean(axis=0), frame.sample_rate)
        frame.pts = None  # positions are counted by the caller; the resampler must not shift by rounded time stamps
        return self._pulled(frame)

    def rest(self) -> np.ndarray:
        """What the resampler still holds."""
        return self._pulled(None)

    def _pulled(self, frame: av.AudioFrame | None) -> np.ndarray:
        pieces = [_samples(piece.planes[0], np.int16, piece.samples) for piece in self.resampler.resample(frame)]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


def first_channel(frame: av.AudioFrame) -> np.ndarray:
    """int16 (n,), at the frame's own rate."""
    full_scale = 2**15
    samples = np.rint(channels(frame)[0].astype(np.float64) * full_scale)
    return samples.clip(-full_scale, full_scale - 1).astype(np.int16)


def channels(frame: av.AudioFrame) -> np.ndarray:
    """float32 or float64 (channels, n), full scale 1."""
    kind, zero, full_scale = SAMPLE_TYPES[frame.format.name.removesuffix("p")]
    wide = np.float32 if np.dtype(kind).itemsize <= 2 or kind is np.float32 else np.float64
    return ((_raw(frame, kind).astype(wide) - zero) / full_scale).astype(wide)


def without_head(frame: av.AudioFrame, samples: int) -> av.AudioFrame:
    if not samples:
        return frame
    if _has_mix(frame.layout.name) and frame.format.name in SAMPLE_TYPES_OF_PYAV:
        step = 1 if frame.format.is_planar else frame.layout.nb_channels
        array: Any = np.ascontiguousarray(frame.to_ndarray()[:, samples * step :])
        rest = av.AudioFrame.from_ndarray(array, format=frame.format.name, layout=frame.layout.name)
        rest.sample_rate = frame.sample_rate
        return rest
    return _mono(channels(frame).mean(axis=0)[samples:], frame.sample_rate)


SAMPLE_TYPES_OF_PYAV = {"u8", "u8p", "s16", "s16p", "s32", "s32p", "flt", "fltp", "dbl", "dblp"}


def is_broken(frame: av.AudioFrame) -> bool:
    """Whether it holds NaN or infinity. (Reads the planes where they lie: `to_ndarray` takes longer than the decoder. A sum
    of squares is the cheapest check of them all; it can overflow, and then every sample is checked.)"""
    name = frame.format.name.removesuffix("p")
    if name not in FLOATS:
        return False
    samples = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
    planes = (_samples(plane, SAMPLE_TYPES[name][0], samples) for plane in _planes(frame))
    with np.errstate(all="ignore"):
        return not all(math.isfinite(np.dot(plane, plane)) or np.isfinite(plane).all() for plane in planes)


def _kind(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


@functools.lru_cache
def _has_mix(layout: str) -> bool:
    """Whether ffmpeg knows how these channels become one."""
    try:
        silence = av.AudioFrame("flt", layout, 16)
        silence.sample_rate = SAMPLE_RATE_HZ
        av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE_HZ).resample(silence)
    except (FFmpegError, ValueError):
        return False
    return True


def _mono(samples: np.ndarray, rate_hz: int) -> av.AudioFrame:
    array: Any = samples.astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(array, format="flt", layout="mono")
    frame.sample_rate = rate_hz
    return frame


def _raw(frame: av.AudioFrame, kind: type[np.generic]) -> np.ndarray:
    """(channels, n) as decoded."""
    count = frame.layout.nb_channels
    if frame.format.is_planar:
        return np.stack([_samples(plane, kind, frame.samples) for plane in _planes(frame)])
    return _samples(_planes(frame)[0], kind, frame.samples * count).reshape(frame.samples, count).T


def _planes(frame: av.AudioFrame) -> list[AudioPlane]:
    """As many as there are. (`frame.planes` of PyAV 18 looks for the first pointer that is null, which may be none.)"""
    return [AudioPlane(frame, index) for index in range(frame.layout.nb_channels if frame.format.is_planar else 1)]


def _samples(plane: AudioPlane, kind: type[np.generic], count: int) -> np.ndarray:
    """The plane's memory as it lies. (A plane is a buffer, which PyAV's type hints do not say.)"""
    return np.frombuffer(cast("memoryview", plane), kind, count)
