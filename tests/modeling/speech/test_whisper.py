"""Whisper's encoder against the arithmetic of openai-whisper, written here a second time with SciPy and NumPy."""

import hashlib

import numpy as np
import pytest
import torch
from scipy.signal import stft
from scipy.special import erf, softmax

from modeling.speech.whisper import MOST_POSITIONS, mel_bands, sinusoids, whisper_mel
from tests.support.small_whisper import SIZE, encoder


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(round(16_000 * seconds)) * 0.1).astype(np.float32)


def test_the_filter_bank_is_that_of_the_published_file():
    """Corners and sums of `mel_filters.npz` of openai-whisper 20250625."""
    bands = mel_bands(80).numpy().T
    assert bands.shape == (80, 201)
    assert bands[0, 1] == pytest.approx(0.02486259, abs=1e-6)
    assert bands.sum() == pytest.approx(1.9990242, rel=1e-5)
    assert bands[79, 198] == pytest.approx(0.00089752, abs=1e-6)


def test_the_spectrogram_is_whispers_log_mel():
    wave_T = speech(1.5)
    padded_T = np.pad(wave_T, 200, mode="reflect")
    _, _, frames_KL = stft(
        padded_T, window="hann", nperseg=400, noverlap=240, boundary=None, padded=False, scaling="spectrum"
    )
    power_KL = np.abs(frames_KL[:, :-1] * 200) ** 2  # SciPy divides by the sum of the window
    levels_FL = np.log10(np.maximum(mel_bands(80).numpy().T @ power_KL, 1e-10))
    expected_FL = (np.maximum(levels_FL, levels_FL.max() - 8) + 4) / 4
    np.testing.assert_allclose(whisper_mel(torch.from_numpy(wave_T)[None])[0].numpy(), expected_FL, atol=2e-4)


def _norm(x, weight, bias):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias


def _gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def _convolution(x_CP, weight, bias, stride):
    x_CP = np.pad(x_CP, ((0, 0), (1, 1)))
    stacked = np.stack([x_CP[:, k : k + x_CP.shape[1] - 2 : stride] for k in range(3)], axis=2)
    return np.einsum("ock,cpk->op", weight, stacked) + bias[:, None]


def _layer(x_PC, w):
    normed = _norm(x_PC, w["attn_ln.weight"], w["attn_ln.bias"])
    query = normed @ w["attn.query.weight"].T + w["attn.query.bias"]
    key, value = normed @ w["attn.key.weight"].T, normed @ w["attn.value.weight"].T + w["attn.value.bias"]
    mixed = []
    for head in range(SIZE.heads):
        of_head = slice(64 * head, 64 * (head + 1))
        mixed.append(softmax(query[:, of_head] @ key[:, of_head].T / 8, axis=1) @ value[:, of_head])
    x_PC = x_PC + np.concatenate(mixed, axis=1) @ w["attn.out.weight"].T + w["attn.out.bias"]
    hidden = _gelu(_norm(x_PC, w["mlp_ln.weight"], w["mlp_ln.bias"]) @ w["mlp.0.weight"].T + w["mlp.0.bias"])
    return x_PC + hidden @ w["mlp.2.weight"].T + w["mlp.2.bias"]


def test_a_layers_output_is_that_of_the_published_arithmetic():
    network = encoder(layers=2)
    weights = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    mel_BFL = whisper_mel(torch.from_numpy(speech(1.03))[None])
    x_CP = _gelu(_convolution(mel_BFL[0].double().numpy(), weights["conv1.weight"], weights["conv1.bias"], 1))
    x_CP = _gelu(_convolution(x_CP, weights["conv2.weight"], weights["conv2.bias"], 2))
    angles = np.arange(x_CP.shape[1])[:, None] / 10_000 ** (np.arange(64) / 63)
    x_PC = x_CP.T + np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    for layer in range(2):
        own = f"blocks.{layer}."
        x_PC = _layer(x_PC, {name.removeprefix(own): w for name, w in weights.items() if name.startswith(own)})
    with torch.no_grad():
        np.testing.assert_allclose(network(mel_BFL)[0].numpy(), x_PC, atol=1e-4)


def test_a_clip_of_thirty_seconds_is_heard_as_whisper_hears_it_and_a_shorter_one_takes_only_its_own_positions():
    network = encoder(layers=1)
    with torch.no_grad():
        assert network(whisper_mel(torch.from_numpy(speech(30))[None])).shape == (1, MOST_POSITIONS, SIZE.width)
        assert network(whisper_mel(torch.from_numpy(speech(2))[None])).shape == (1, 100, SIZE.width)


def test_positions_are_those_of_the_published_model():
    """The first values of the buffer `positional_embedding` of openai-whisper's tiny."""
    table = sinusoids(1500, 384).numpy()
    assert table[1, 0] == pytest.approx(0.84147098) and table[1, 192] == pytest.approx(0.54030231)
    assert table[1499, 191] == pytest.approx(np.sin(0.1499), abs=1e-4)


def test_the_fingerprint_is_that_of_the_weights_and_not_of_their_precision():
    network = encoder(layers=1)
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode() + tensor.numpy().astype(np.float16).tobytes())
    assert network.fingerprint() == network.half().fingerprint() == digest.hexdigest()
    assert encoder(layers=1, seed=1).fingerprint() != digest.hexdigest()
