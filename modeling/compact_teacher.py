"""The compact face-emotion teacher: a small residual network on 48x48 grey faces, the embedded default."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modeling.emotions import EMOTIONS


@dataclass(frozen=True, kw_only=True)
class CompactTeacherConfig:
    """widths: channels of the three stages at 24, 12 and 6 pixels; blocks: residual blocks in each stage."""

    widths: tuple[int, ...] = (32, 64, 128)
    blocks: int = 2
    embedding: int = 256
    dropout: float = 0.3


class ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity()
        if stride > 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x_NCHW)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x_NCHW), inplace=True)


class CompactTeacher(nn.Module):
    """Grey faces (N, 1, 48, 48), float, zero mean and unit deviation for each face -> logits (N, 8)."""

    def __init__(self, config: CompactTeacherConfig = CompactTeacherConfig()):
        super().__init__()
        self.config = config
        channels = config.widths[0]
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, 5, 2, 2, bias=False), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        stages = []
        for stage, width in enumerate(config.widths):
            for block in range(config.blocks):
                stages.append(ResidualBlock(channels, width, stride=2 if stage > 0 and block == 0 else 1))
                channels = width
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.Conv2d(channels, config.embedding, 1, bias=False),
            nn.BatchNorm2d(config.embedding),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(config.embedding, len(EMOTIONS))

    def forward(self, faces_NCHW: Tensor) -> Tensor:
        features_NC = self.head(self.stages(self.stem(faces_NCHW))).mean((2, 3))
        return self.classifier(F.dropout(features_NC, self.config.dropout, self.training))


def normalise_faces(faces_NHW: Tensor) -> Tensor:
    """uint8 or float (N, H, W), 0-255 -> float32 (N, 1, H, W) with mean 0 and deviation 1 for each face.

    The deviation is floored at 8 grey levels, so that a blank picture stays near zero.
    """
    x = faces_NHW.to(torch.float32)
    mean = x.mean((1, 2), keepdim=True)
    deviation = x.std((1, 2), keepdim=True, unbiased=False).clamp_min(8.0)
    return ((x - mean) / deviation).unsqueeze(1)
