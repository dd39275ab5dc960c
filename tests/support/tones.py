"""Small sound files with known content: a pulsed tone of given pitch in a little noise, as wav, flac or avi."""

import zlib
from pathlib import Path

import av
import numpy as np
import soundfile

PULSES_PER_S = 4
"""Tones are pulsed because the compact student's log-mel removes each band's mean over time, and so a steady tone."""


def tone(hz: float, seed: int, seconds: float = 1.2, rate_hz: int = 16_000) -> np.ndarray:
    """float32 (n,) in [-1, 1]; each seed has its own noise."""
    rng = np.random.default_rng(seed)
    times_s = np.arange(round(seconds * rate_hz)) / rate_hz
    sounding = np.sin(2 * np.pi * PULSES_PER_S * times_s) > 0
    return (0.3 * np.sin(2 * np.pi * hz * times_s) * sounding + 0.01 * rng.standard_normal(len(times_s))).astype(
        np.float32
    )


def write_tone(
    path: Path, hz: float = 440.0, seed: int | None = None, seconds: float = 1.2, rate_hz: int = 16_000
) -> Path:
    """Writes .wav, .flac or .avi (sound only, PCM); every path has its own noise unless a seed is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    signal_T = tone(hz, zlib.crc32(str(path).encode()) if seed is None else seed, seconds, rate_hz)
    if path.suffix != ".avi":
        soundfile.write(path, signal_T, rate_hz, subtype="PCM_16")
        return path
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray((signal_T * 32767).astype(np.int16)[None], format="s16", layout="mono")
        frame.sample_rate = rate_hz
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
