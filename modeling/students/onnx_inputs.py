"""The students' input transforms as ONNX graphs can hold them: Fourier transforms as convolutions, filters as products.

`modeling.speech.spectrogram` and `modeling.speech.whisper` stay the definition; `onnx_export.parity` measures the difference.
Shape letters: B = 1 clip, T samples at 16 kHz, F frequency bins, L frames.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import melscale_fbanks

from modeling.sampling import FRAME_SAMPLES, HOP_SAMPLES, SAMPLE_RATE_HZ
from modeling.speech import spectrogram, whisper
from modeling.speech.spectrogram import DC_POLE, FFT_SAMPLES

CARRIED_BLOCKS = 9
"""Number of blocks of 256 samples after which 0.99 ** n is below 1e-10, too small to matter in float32."""


class _FourierFrames(nn.Module):
    """(1, T) -> real and imaginary part (1, F, L) of the windowed frames; equals `spectrogram._stft` by default."""

    kernels: Tensor

    def __init__(self, window_T: Tensor, fft_samples: int = FFT_SAMPLES):
        super().__init__()
        bins, samples = torch.arange(fft_samples // 2 + 1), torch.arange(FRAME_SAMPLES)
        angle = 2 * math.pi * torch.outer(bins, samples).remainder(fft_samples).double() / fft_samples
        kernels = torch.cat([angle.cos(), -angle.sin()]) * window_T.double()
        self.register_buffer("kernels", kernels[:, None].float())

    def forward(self, wave_BT: Tensor) -> tuple[Tensor, Tensor]:
        real, imaginary = F.conv1d(wave_BT[:, None], self.kernels, stride=HOP_SAMPLES).chunk(2, 1)
        return real, imaginary


class LogMel(nn.Module):
    """The same as `spectrogram.log_mel`."""

    bands: Tensor

    def __init__(self):
        super().__init__()
        self.frames = _FourierFrames(torch.hann_window(FRAME_SAMPLES, dtype=torch.float64))
        bands = melscale_fbanks(FFT_SAMPLES // 2 + 1, *spectrogram.MEL_RANGE_HZ, spectrogram.MEL_BANDS, SAMPLE_RATE_HZ)
        self.register_buffer("bands", bands.T.contiguous())

    def forward(self, wave_BT: Tensor) -> Tensor:
        real, imaginary = self.frames(wave_BT)
        power_BFL = real.square() + imaginary.square()
        mel = 10 * torch.log10((self.bands @ power_BFL).clamp_min(spectrogram.POWER_FLOOR))
        mel = torch.maximum(mel, mel.amax((1, 2), keepdim=True) - spectrogram.MEL_RANGE_DB)
        mel = mel - mel.mean(2, keepdim=True)
        deviation = mel.square().mean((1, 2), keepdim=True).sqrt()
        return mel / deviation.clamp_min(spectrogram.MEL_DEVIATION_FLOOR_DB)


class _WithoutDc(nn.Module):
    """The same as `spectrogram.without_dc`, by blocks of 256 samples plus the remainders of earlier blocks."""

    decay: Tensor
    carry: Tensor
    fading: Tensor

    def __init__(self):
        super().__init__()
        block = spectrogram.SCAN_BLOCK
        step = torch.arange(block, dtype=torch.float64)
        decay = torch.tril(DC_POLE ** (step[:, None] - step[None]).clamp_min(0))
        blocks = torch.arange(CARRIED_BLOCKS - 1, -1, -1, dtype=torch.float64)
        self.register_buffer("decay", decay.T.float())
        self.register_buffer("carry", (DC_POLE ** (block * blocks)).float()[None, None])
        self.register_buffer("fading", (DC_POLE ** (step + 1)).float())

    def forward(self, wave_BT: Tensor) -> Tensor:
        block, samples = spectrogram.SCAN_BLOCK, wave_BT.shape[1]
        change = wave_BT - F.pad(wave_BT, (1, 0))[:, :samples]
        y = F.pad(change, (0, block))[:, : (samples + block - 1) // block * block].reshape(1, -1, block) @ self.decay
        earlier = F.conv1d(F.pad(y[:, None, :, -1], (CARRIED_BLOCKS, 0)), self.carry)[:, 0, :-1]
        return (y + earlier[..., None] * self.fading).reshape(1, -1)[:, :samples]


class PaperMagnitude(nn.Module):
    """The same as `spectrogram.paper_spectrogram` without dither."""

    def __init__(self):
        super().__init__()
        self.without_dc = _WithoutDc()
        self.frames = _FourierFrames(torch.hamming_window(FRAME_SAMPLES, periodic=False, dtype=torch.float64))

    def forward(self, wave_BT: Tensor) -> Tensor:
        x = self.without_dc(wave_BT * spectrogram.INT16_SCALE)
        x = x - spectrogram.PRE_EMPHASIS * F.pad(x, (1, 0))[:, : x.shape[1]]
        real, imaginary = self.frames(x)
        half_BFL = (real.square() + imaginary.square()).sqrt()
        centred = half_BFL - half_BFL.mean(2, keepdim=True)
        deviation = (centred.square().sum(2, keepdim=True) / (centred.shape[2] - 1)).sqrt()
        scaled = centred / deviation.clamp_min(spectrogram.MAGNITUDE_DEVIATION_FLOOR)
        return torch.cat([scaled, scaled[:, 1:-1].flip(1)], 1)


class WhisperLogMel(nn.Module):
    """`whisper.whisper_mel`."""

    bands: Tensor

    def __init__(self, bands: int):
        super().__init__()
        self.frames = _FourierFrames(torch.hann_window(whisper.FFT_SAMPLES, dtype=torch.float64), whisper.FFT_SAMPLES)
        self.register_buffer("bands", whisper.mel_bands(bands).T.contiguous())

    def forward(self, wave_BT: Tensor) -> Tensor:
        edge = whisper.FFT_SAMPLES // 2
        real, imaginary = self.frames(F.pad(wave_BT[:, None], (edge, edge), mode="reflect")[:, 0])
        power_BKL = (real.square() + imaginary.square())[:, :, :-1]
        return whisper.compressed(self.bands @ power_BKL)
