"""Speech as FLAC, in memory. Separate from `pipeline/media/speech.py`, so that readers of a set do not need PyAV."""

import io

import numpy as np
import soundfile

from modeling.sampling import SAMPLE_RATE_HZ


def encode_flac(samples: np.ndarray) -> bytes:
    """int16 (n,) -> 16 kHz mono 16-bit FLAC, without loss."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(data: bytes, start: int = 0, frames: int = -1) -> np.ndarray:
    """int16 (n,): `frames` samples from sample `start` on; -1: all the rest."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        file.seek(start)
        return file.read(frames, dtype="int16")
