"""Speech as FLAC: without loss, read in part, and without the video library."""

import io
import subprocess
import sys

import numpy as np
import soundfile

from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.media.flac import decode_flac, encode_flac


def test_flac_keeps_every_sample_and_is_read_in_part():
    samples = np.random.default_rng(0).integers(-32768, 32767, 3 * SAMPLE_RATE_HZ, np.int16, endpoint=True)
    data = encode_flac(samples)
    assert np.array_equal(decode_flac(data), samples)
    assert np.array_equal(decode_flac(data, 12_345, 16_000), samples[12_345:28_345])
    assert soundfile.info(io.BytesIO(data)).subtype == "PCM_16"


def test_training_loads_no_video_library():
    script = "import sys, pipeline.distillation.run; print([name for name in ('av', 'decord') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert answer.strip() == "[]"
