"""From features per frame to one embedding and the logits: shared by the students that pool over time.

Shape letters: B clips, C channels, L frames, D embedding, E = 8 emotions.
"""

import torch
from torch import Tensor, nn

from modeling.emotions import EMOTIONS
from modeling.students.base import Student
from modeling.students.configs import StudentConfig

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
        x_BCL = x_BCL.float()  # in half precision the difference of two squares would lose all digits
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


class PooledStudent(Student):
    """A student that pools features per frame over time; a subclass computes the features.

    The attributes pool, embedding and classifier have these names in the students' files.
    """

    pool: nn.Module
    embedding: nn.Module
    classifier: nn.Module

    def add_head(self, config: StudentConfig) -> None:
        """Adds the layers that follow features of `POOLED_CHANNELS`."""
        attentive = config.pooling == "attention"
        self.pool = (
            AttentiveStatistics(POOLED_CHANNELS, ATTENTION_CHANNELS) if attentive else PlainStatistics(config.pooling)
        )
        self.embedding = nn.Sequential(
            nn.BatchNorm1d(2 * POOLED_CHANNELS), nn.Linear(2 * POOLED_CHANNELS, config.embedding), nn.ReLU(inplace=True)
        )
        self.classifier = nn.Linear(config.embedding, len(EMOTIONS))

    def pooled_outputs(self, features_BCL: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, L) -> logits (B, E), embedding (B, D)."""
        embedding_BD = self.embedding(self.pool(features_BCL))
        return self.classifier(embedding_BD), embedding_BD
