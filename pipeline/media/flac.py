"""Speech as FLAC, in memory. Apart from `pipeline/media/speech.py` so that who reads a set needs no PyAV."""

import io

import numpy as np
import soundfile

from modeling.sampling import SAMPLE_RATE_HZ


def encode_flac(samples: np.ndarray) -> bytes:
    """int16 (n,) as 16 kHz mono 16-bit FLAC, without loss."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def decode_flac(data: bytes, start: int = 0, frames: int = -1) -> np.ndarray:
    """int16 (n,): `frames` samples from sample `start` on; -1 is all the rest."""
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        file.seek(start)
        return file.read(frames, dtype="int16")
