"""The base of every student: one object from speech of any length to an embedding and the logits of eight emotions.

Shape letters: B clips, T samples at 16 kHz, F frequency bins, L frames, E = 8 emotions, D embedding.
"""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import resample

from modeling.sampling import (
    FRAME_SAMPLES,
    HOP_SAMPLES,
    INT16_SCALE,
    SAMPLE_RATE_HZ,
    SPECTROGRAM_FRAMES_PER_SECOND,
)
from modeling.students.configs import StudentConfig, WhisperConfig

MIN_FRAMES = SPECTROGRAM_FRAMES_PER_SECOND  # the paper's smallest bucket, 1 s
MAX_FRAMES = 10 * SPECTROGRAM_FRAMES_PER_SECOND  # the paper's largest bucket, 10 s
MIN_SAMPLES = FRAME_SAMPLES + (MIN_FRAMES - 1) * HOP_SAMPLES  # 16,240, enough for 100 frames
MAX_SAMPLES = MAX_FRAMES * HOP_SAMPLES  # 160,000, the most that a student that reads the waveform uses


class Student(nn.Module):
    """From waveform to logits. A subclass adds its input transform and its network."""

    config: StudentConfig | WhisperConfig
    meta: dict[str, Any]  # about the run that trained it; set by `checkpoint.load_student`

    @abstractmethod
    def spectrogram(self, wave_BT: Tensor) -> Tensor:
        """int16 or float in [-1, 1] at 16 kHz, (B, T) -> the network's input (B, F, L).

        An ssl student reads the waveform: its F is 1 and its L is T.
        """

    @abstractmethod
    def outputs(self, spectrogram_BFL: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F, L) -> logits (B, E), embedding (B, D)."""

    @abstractmethod
    def clip_frames(self, frames: int) -> int:
        """How many of the L frames of a clip (of at least 1.015 s) are used at test time; they are cut from its centre."""

    def clip_start(self, frames: int) -> int:
        """Index of the first frame used at test time."""
        return (frames - self.clip_frames(frames)) // 2

    def stored_state(self) -> dict[str, Tensor]:
        """The weights that the student's own file holds."""
        return self.state_dict()

    def forward(self, wave_BT: Tensor) -> tuple[Tensor, Tensor]:
        """int16 or float in [-1, 1] at 16 kHz, (B, T) of at least 1.015 s -> logits (B, E), embedding (B, D)."""
        return self.outputs(self.spectrogram(wave_BT))

    @torch.no_grad()
    def outputs_of_clip(self, wave_T: Tensor) -> tuple[Tensor, Tensor]:
        """A whole clip at 16 kHz -> logits (E,), embedding (D,), by the authors' test procedure (compute_audio_feats.m).

        The input is normalised over the whole clip, then cut to its centre: to whole seconds up to 10 s for the paper's
        student, to at most 10 s for the others. A clip below 1.015 s (100 frames) is padded with zeros at its end.
        Always in evaluation mode. Raises ValueError for an empty clip.
        """
        if wave_T.ndim != 1 or len(wave_T) == 0:
            raise ValueError(f"the clip has shape {tuple(wave_T.shape)}; give mono samples (T,) with T of at least 1")
        was_training = self.training
        self.eval()
        spectrogram = self.spectrogram(F.pad(wave_T, (0, max(0, MIN_SAMPLES - len(wave_T))))[None])
        frames = spectrogram.shape[2]
        start = self.clip_start(frames)
        logits_BE, embedding_BD = self.outputs(spectrogram[:, :, start : start + self.clip_frames(frames)])
        self.train(was_training)
        return logits_BE[0], embedding_BD[0]

    def logits_of_clip(self, wave_T: Tensor) -> Tensor:
        """A whole clip at 16 kHz -> logits (E,); see `outputs_of_clip`."""
        return self.outputs_of_clip(wave_T)[0]

    def embed(self, wave: Tensor | np.ndarray, sample_rate: int) -> Tensor:
        """Speech at any rate, mono or stereo, float in [-1, 1] or int16 -> embedding (D,) on the CPU."""
        return self.outputs_of_clip(self._mono_16k(wave, sample_rate))[1].cpu()

    def predict(self, wave: Tensor | np.ndarray, sample_rate: int) -> Tensor:
        """Speech as for `embed` -> probabilities (E,) in the order of EMOTIONS, on the CPU."""
        return self.outputs_of_clip(self._mono_16k(wave, sample_rate))[0].softmax(0).cpu()

    def _mono_16k(self, wave: Tensor | np.ndarray, sample_rate: int) -> Tensor:
        """Mean of the channels at 16 kHz. The shorter axis holds the channels, because torchaudio and soundfile differ.

        The authors take the left channel and ignore the rate (compute_audio_feats.m); VoxCeleb is mono at 16 kHz.
        """
        wave = torch.as_tensor(np.ascontiguousarray(wave) if isinstance(wave, np.ndarray) else wave)
        if wave.ndim not in (1, 2) or wave.numel() == 0:
            raise ValueError(f"the sound has shape {tuple(wave.shape)}; give (samples,) or (channels, samples)")
        if wave.dtype != torch.int16 and not wave.is_floating_point():
            raise ValueError(f"the sound has type {wave.dtype}; give int16, or float in [-1, 1]")
        if sample_rate != int(sample_rate) or sample_rate < 1:
            raise ValueError(f"{sample_rate = }: give the rate of the sound in Hz, as a whole number")
        wave = wave.to(torch.float32) / (INT16_SCALE if wave.dtype == torch.int16 else 1)
        if not torch.isfinite(wave).all():
            raise ValueError("the sound holds NaN or infinity; decode the file again or leave it out")
        mono_T = wave if wave.ndim == 1 else wave.mean(int(wave.shape[1] < wave.shape[0]))
        device = next(self.parameters()).device
        return resample(mono_T.to(device), int(sample_rate), SAMPLE_RATE_HZ)


def he_init(network: nn.Module) -> None:
    """Draws every weight from a normal distribution with deviation sqrt(2 / fan_in), sets biases to zero (as the paper does:
    MatConvNet dagnn.Conv initParams)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv1d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
