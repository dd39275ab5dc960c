"""The compact student: log-mel, a small residual network, attentive statistics; two CPU cores can train it."""

import torch
from torch import Tensor, nn

from modeling.emotions import EMOTIONS
from modeling.layers import ResidualBlock
from modeling.speech.spectrogram import MEL_BANDS, log_mel
from modeling.students.base import MAX_FRAMES, Student, StudentConfig, he_init

STRIDE = 16  # of the stem and the three stages together over the bands: 64 become 4
STEM_KERNEL = (5, 7)  # bands, frames
STEM_STRIDE = (2, 4)
"""Frames of 10 ms become 40 ms at once: half the time of a stride of two, and no worse on acted speech (docs/log.md)."""

POOLED_CHANNELS = 192
ATTENTION_CHANNELS = 48
VARIANCE_FLOOR = 1e-4


class AttentiveStatistics(nn.Module):
    """(B, C, L) -> (B, 2C): mean and deviation over time, weighted by each channel's own attention."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.attention = nn.Sequential(nn.Conv1d(channels, hidden, 1), nn.Tanh(), nn.Conv1d(hidden, channels, 1))

    def forward(self, x_BCL: Tensor) -> Tensor:
        weights_BCL = self.attention(x_BCL).softmax(2).float()
        x_BCL = x_BCL.float()  # in half precision the difference of two squares keeps nothing
        mean = (weights_BCL * x_BCL).sum(2)
        variance = (weights_BCL * x_BCL.square()).sum(2) - mean.square()
        return torch.cat([mean, variance.clamp_min(VARIANCE_FLOOR).sqrt()], 1)


class PlainStatistics(nn.Module):
    """(B, C, L) -> (B, 2C): mean and deviation over time, or the maximum and the mean."""

    def __init__(self, pooling: str):
        super().__init__()
        self.pooling = pooling

    def forward(self, x_BCL: Tensor) -> Tensor:
        x_BCL = x_BCL.float()
        mean = x_BCL.mean(2)
        if self.pooling == "max":
            return torch.cat([x_BCL.amax(2), mean], 1)
        variance = x_BCL.square().mean(2) - mean.square()
        return torch.cat([mean, variance.clamp_min(VARIANCE_FLOOR).sqrt()], 1)


class CompactStudent(Student):
    """64 mel bands at 10 ms, three residual stages, 0.53 M weights with the default config; any length from 1 s."""

    def __init__(self, config: StudentConfig):
        super().__init__()
        self.config = config
        first = config.widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(1, first, STEM_KERNEL, STEM_STRIDE, (2, 3), bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
        )
        steps = zip((first, *config.widths), config.widths, strict=False)
        self.stages = nn.Sequential(*(ResidualBlock(inputs, outputs, 2) for inputs, outputs in steps))
        bands = MEL_BANDS // STRIDE
        self.over_time = nn.Sequential(
            nn.Flatten(1, 2),
            nn.Conv1d(config.widths[-1] * bands, POOLED_CHANNELS, 1, bias=False),
            nn.BatchNorm1d(POOLED_CHANNELS),
            nn.ReLU(inplace=True),
        )
        attentive = config.pooling == "attention"
        self.pool = (
            AttentiveStatistics(POOLED_CHANNELS, ATTENTION_CHANNELS) if attentive else PlainStatistics(config.pooling)
        )
        self.embedding = nn.Sequential(
            nn.BatchNorm1d(2 * POOLED_CHANNELS), nn.Linear(2 * POOLED_CHANNELS, config.embedding), nn.ReLU(inplace=True)
        )
        self.classifier = nn.Linear(config.embedding, len(EMOTIONS))
        he_init(self)
        self.to(memory_format=torch.channels_last)  # half the time of a training step on a CPU

    def spectrogram(self, wave_BT: Tensor) -> Tensor:
        """(B, 64, L)."""
        return log_mel(wave_BT)

    def outputs(self, spectrogram_BFL: Tensor) -> tuple[Tensor, Tensor]:
        features_BCL = self.over_time(self.stages(self.stem(spectrogram_BFL.unsqueeze(1))))
        embedding_BD = self.embedding(self.pool(features_BCL))
        return self.classifier(embedding_BD), embedding_BD

    def clip_frames(self, frames: int) -> int:
        return min(MAX_FRAMES, frames)
