"""References: scipy.signal.lfilter and numpy.fft in float64, written from the paper's description."""

from functools import partial

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.transforms import MelSpectrogram

from modeling.speech.spectrogram import (
    FRAME_SAMPLES,
    HOP_SAMPLES,
    WINDOW_FRAMES,
    WINDOW_SAMPLES,
    log_mel,
    paper_spectrogram,
    without_dc,
)


def speechlike(samples: int, seed: int = 0) -> np.ndarray:
    """Noise with a falling spectrum and a slow envelope, int16, with an offset of 500 steps."""
    rng = np.random.default_rng(seed)
    noise = scipy.signal.lfilter([1], [1, -0.9], rng.normal(size=samples))
    envelope = 1 + np.sin(np.arange(samples) / 3000)
    return (800 * noise * envelope + 500).clip(-32768, 32767).astype(np.int16)


def reference(wave_T: np.ndarray, noise_T: np.ndarray | None = None) -> np.ndarray:
    """mfccspec.m and rm_dc_n_dither.m of VGGVox, then mean and std of getBatchEmoVoxCeleb.m; noise_T: rand + rand - 1."""
    x = scipy.signal.lfilter([1, -1], [1, -0.99], wave_T.astype(np.float64))
    if noise_T is not None:
        x = x + 1e-6 * np.std(x, ddof=1) * noise_T
    x = scipy.signal.lfilter([1, -0.97], [1], x)
    n = np.arange(400)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * n / 399)
    frames = np.stack([x[s : s + 400] * window for s in range(0, len(x) - 400 + 1, 160)], 1)
    magnitude = np.abs(np.fft.fft(frames, 512, axis=0))
    return (magnitude - magnitude.mean(1, keepdims=True)) / magnitude.std(1, ddof=1, keepdims=True)


def test_equals_the_vggvox_chain_in_numpy():
    waves = np.stack([speechlike(WINDOW_SAMPLES, seed) for seed in (0, 1)])
    ours = paper_spectrogram(torch.from_numpy(waves)).numpy()
    assert ours.shape == (2, 512, 400) and WINDOW_FRAMES == 400
    np.testing.assert_allclose(ours, np.stack([reference(wave) for wave in waves]), atol=5e-5)


def test_upper_bins_mirror_the_lower():
    spectrogram = paper_spectrogram(torch.from_numpy(speechlike(20_000))[None])[0]
    assert torch.equal(spectrogram[1:256], spectrogram[257:].flip(0))


def test_bins_have_mean_0_and_deviation_1_over_time():
    spectrogram = paper_spectrogram(torch.from_numpy(speechlike(40_000))[None])[0]
    torch.testing.assert_close(spectrogram.mean(1), torch.zeros(512), atol=1e-4, rtol=0)
    torch.testing.assert_close(spectrogram.std(1), torch.ones(512), atol=1e-3, rtol=0)


def test_float_in_unit_range_equals_int16():
    wave = torch.from_numpy(speechlike(20_000))[None]
    torch.testing.assert_close(paper_spectrogram(wave.float() / 32768), paper_spectrogram(wave), atol=1e-4, rtol=0)


def test_a_wave_of_another_type_is_refused():
    with pytest.raises(ValueError, match="int32"):
        paper_spectrogram(torch.zeros(1, 20_000, dtype=torch.int32))


def test_dither_equals_the_vggvox_chain_where_it_is_all_there_is():
    """A burst behind the last frame sets the deviation, and every frame holds digital silence and its dither."""
    wave = np.zeros(2159, np.int16)  # eleven frames end at sample 2000
    wave[2000:] = np.where(np.arange(159) % 2, 32767, -32768)
    torch.manual_seed(4)
    ours = paper_spectrogram(torch.from_numpy(wave)[None], dithered=True)[0].numpy()
    torch.manual_seed(4)
    noise = (torch.rand(1, 2159) + torch.rand(1, 2159) - 1)[0].numpy()
    assert not paper_spectrogram(torch.from_numpy(wave)[None]).any()
    np.testing.assert_allclose(ours, reference(wave, noise), atol=1e-3)


def test_dither_repeats_with_its_seed_and_is_far_below_what_a_network_sees():
    wave = torch.from_numpy(speechlike(20_000))[None]
    dithered = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        dithered.append(paper_spectrogram(wave, dithered=True))
    assert torch.equal(dithered[0], dithered[1]) and not torch.equal(dithered[0], dithered[2])
    assert 0 < (dithered[0] - paper_spectrogram(wave)).abs().max() < 5e-5


@settings(max_examples=25, deadline=None)
@given(samples=st.integers(1, 70_000), seed=st.integers(0, 5))
def test_the_dc_filter_equals_scipy_at_any_length(samples, seed):
    wave = speechlike(samples, seed).astype(np.float32)
    ours = without_dc(torch.from_numpy(wave)[None])[0].numpy()
    np.testing.assert_allclose(ours, scipy.signal.lfilter([1, -1], [1, -0.99], wave.astype(np.float64)), atol=0.05)


@pytest.mark.parametrize("transform", [paper_spectrogram, partial(paper_spectrogram, dithered=True), log_mel])
@pytest.mark.parametrize("samples", [1, 399, 400, 401, 560, 16_000])
def test_silence_constants_and_very_short_sounds_stay_finite(transform, samples):
    step = torch.zeros(samples, dtype=torch.int16)
    step[samples // 2 :] = 32767
    waves = torch.stack(
        [torch.zeros(samples, dtype=torch.int16), torch.full((samples,), -32768, dtype=torch.int16), step]
    )
    spectrogram = transform(waves)
    assert torch.isfinite(spectrogram).all()
    assert spectrogram.shape[2] == max(0, samples - FRAME_SAMPLES) // HOP_SAMPLES + 1
    assert (spectrogram[0] == 0).all(), "silence carries nothing"


def test_log_mel_equals_torchaudio_after_the_normalisation():
    wave = torch.from_numpy(speechlike(WINDOW_SAMPLES))[None]
    # torchaudio puts the 400-sample window in the middle of its 512-sample frame, hence 56 zeros in front and behind
    padded = torch.nn.functional.pad(wave / 32768.0, (56, 56))
    decibels = 10 * MelSpectrogram(16_000, 512, 400, 160, 60, 7600, n_mels=64, center=False)(padded).log10().numpy()[0]
    decibels = np.maximum(decibels, decibels.max() - 60)
    centred = decibels - decibels.mean(1, keepdims=True)
    np.testing.assert_allclose(log_mel(wave)[0].numpy(), centred / centred.std(), atol=1e-3)


def test_log_mel_does_not_depend_on_loudness_or_on_the_microphone():
    wave = torch.from_numpy(speechlike(30_000))[None].float() / 32768
    torch.testing.assert_close(log_mel(wave * 0.1), log_mel(wave), atol=1e-3, rtol=0)


def test_a_tone_lights_the_band_of_its_frequency():
    time = torch.arange(32_000) / 16_000
    tone = torch.sin(2 * torch.pi * 1000 * time) * (time > 1)  # silent in the first second, 1 kHz in the second
    rise = log_mel(tone[None])[0][:, 120:].mean(1)
    edges_mel = np.linspace(*(2595 * np.log10(1 + np.array([60, 7600]) / 700)), 66)
    centres_hz = 700 * (10 ** (edges_mel[1:-1] / 2595) - 1)
    assert abs(centres_hz[int(rise.argmax())] - 1000) < 60
