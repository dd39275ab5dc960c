"""Whisper's encoder as a front end: from waveform to the output of one of its layers, without the padding to 30 s.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (ICML 2023); the arithmetic is that of
openai-whisper 20250625 (`whisper/audio.py`, `whisper/model.py`). Layers above the chosen one are neither stored nor computed.

Shape letters: B clips, T samples at 16 kHz, F mel bands, L frames of 10 ms, P positions of 20 ms, C channels.
"""

import hashlib
import math
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

from modeling.sampling import INT16_SCALE, SAMPLE_RATE_HZ
from modeling.speech.front_ends import HEAD_CHANNELS, WhisperSize
from modeling.speech.spectrogram import in_int16_steps

FFT_SAMPLES = 400  # N_FFT, 25 ms
HOP_SAMPLES = 160  # HOP_LENGTH, 10 ms
POSITIONS_PER_SECOND = SAMPLE_RATE_HZ // (2 * HOP_SAMPLES)  # 50: the second convolution takes every other frame
MOST_POSITIONS = 1500  # n_audio_ctx, 30 s
POWER_FLOOR = 1e-10
RANGE = 8.0  # below the clip's loudest band, in powers of ten
LONGEST_WAVELENGTH = 10_000  # max_timescale of the sinusoids


@lru_cache(maxsize=4)
def mel_bands(bands: int) -> Tensor:
    """(201, F): Slaney's triangles of equal area, as librosa makes them for `mel_filters.npz`."""
    half = FFT_SAMPLES // 2 + 1
    nyquist_hz = SAMPLE_RATE_HZ / 2
    return melscale_fbanks(half, 0.0, nyquist_hz, bands, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney")


def compressed(power_BFL: Tensor) -> Tensor:
    """Mel power to what the encoder takes: powers of ten from the clip's loudest band down, about -1 to 1."""
    levels = power_BFL.clamp_min(POWER_FLOOR).log10()
    return (torch.maximum(levels, levels.amax((1, 2), keepdim=True) - RANGE) + 4) / 4


def whisper_mel(wave_BT: Tensor, bands: int = 80) -> Tensor:
    """int16 or float in [-1, 1], (B, T) with T of at least 201 -> float32 (B, F, L), L = floor(T / 160)."""
    wave_BT = in_int16_steps(wave_BT) / INT16_SCALE
    window = torch.hann_window(FFT_SAMPLES, device=wave_BT.device)
    stft_BKL = torch.stft(wave_BT, FFT_SAMPLES, HOP_SAMPLES, window=window, return_complex=True)[..., :-1]
    power_BKL = stft_BKL.real.square() + stft_BKL.imag.square()
    return compressed(mel_bands(bands).to(power_BKL.device).T @ power_BKL)


def sinusoids(positions: int, channels: int) -> Tensor:
    """(P, C): sines, then cosines, of wavelengths from 2 pi to 10,000 times that."""
    steps = torch.arange(channels // 2) * (-math.log(LONGEST_WAVELENGTH) / (channels // 2 - 1))
    angles = torch.arange(positions)[:, None] * steps.exp()[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class SelfAttention(nn.Module):
    def __init__(self, size: WhisperSize):
        super().__init__()
        self.heads = size.heads
        self.query = nn.Linear(size.width, size.width)
        self.key = nn.Linear(size.width, size.width, bias=False)
        self.value = nn.Linear(size.width, size.width)
        self.out = nn.Linear(size.width, size.width)

    def forward(self, x_BPC: Tensor) -> Tensor:
        query, key, value = (
            layer(x_BPC).unflatten(2, (self.heads, HEAD_CHANNELS)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        return self.out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, size: WhisperSize):
        super().__init__()
        self.attn_ln, self.attn = nn.LayerNorm(size.width), SelfAttention(size)
        self.mlp_ln = nn.LayerNorm(size.width)
        self.mlp = nn.Sequential(
            nn.Linear(size.width, 4 * size.width), nn.GELU(), nn.Linear(4 * size.width, size.width)
        )

    def forward(self, x_BPC: Tensor) -> Tensor:
        x_BPC = x_BPC + self.attn(self.attn_ln(x_BPC))
        return x_BPC + self.mlp(self.mlp_ln(x_BPC))


class WhisperEncoder(nn.Module):
    """The first layers of the encoder; the names of its weights are those of openai-whisper. Frozen, in evaluation mode."""

    positions: Tensor

    def __init__(self, size: WhisperSize, layers: int):
        super().__init__()
        self.size = size
        self.conv1 = nn.Conv1d(size.bands, size.width, 3, padding=1)
        self.conv2 = nn.Conv1d(size.width, size.width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(size) for _ in range(layers))
        self.register_buffer("positions", sinusoids(MOST_POSITIONS, size.width), persistent=False)
        self.requires_grad_(False).eval()

    def forward(self, mel_BFL: Tensor) -> Tensor:
        """What `whisper_mel` gives, of 30 s at most -> the last layer's output (B, P, C), P = L / 2 rounded up."""
        x_BCP = F.gelu(self.conv2(F.gelu(self.conv1(mel_BFL))))
        x_BPC = x_BCP.transpose(1, 2) + self.positions[: x_BCP.shape[2]]
        for block in self.blocks:
            x_BPC = block(x_BPC)
        return x_BPC

    def fingerprint(self) -> str:
        """sha256 of the weights in half precision, in which they are published: the same whatever file they came from."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.cpu().half().contiguous().numpy().tobytes())
        return digest.hexdigest()
