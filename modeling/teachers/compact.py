"""The compact face-emotion teacher, the default: a small residual network on 48x48 grey faces.

Shape letters: N faces, C channels, H = W pixels, E = 8 emotions.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modeling.emotions import EMOTIONS
from modeling.faces.crops import CROP_SCALE
from modeling.faces.ferplus import SIDE_PX
from modeling.layers import ResidualBlock
from modeling.state_dicts import read_safetensors, require_fitting
from modeling.teachers.base import CropRule, TeacherNetwork
from modeling.teachers.catalogue import CompactTeacherConfig


class CompactTeacher(nn.Module):
    """Grey faces, float (N, 1, 48, 48), each with mean 0 and deviation 1 -> logits (N, 8).

    Two convolutions see the picture at its full 48 pixels. One strided 5x5 convolution with the same number of operations
    ends the first epoch two points lower (docs/log.md).
    """

    def __init__(self, config: CompactTeacherConfig | None = None):
        super().__init__()
        self.config = config = config or CompactTeacherConfig()
        channels = config.stem
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        stages: list[nn.Module] = []
        for stage, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for block in range(blocks):
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

    The deviation counts as at least 8 grey levels, so that a blank picture stays near zero.
    """
    x = faces_NHW.to(torch.float32)
    mean = x.mean((1, 2), keepdim=True)
    deviation = x.std((1, 2), keepdim=True, unbiased=False).clamp_min(8.0)
    return ((x - mean) / deviation).unsqueeze(1)


def compact_teacher(network: CompactTeacher) -> TeacherNetwork:
    """How the network is used: crops of 48 grey pixels, the mean of a face and its mirror image."""
    rule = CropRule(side_px=SIDE_PX, grey=True, scale=CROP_SCALE)
    return TeacherNetwork(network, normalise_faces, rule, flip_tta=True, classifier=network.classifier)


def save_compact_teacher(network: CompactTeacher, meta: Mapping[str, Any]) -> bytes:
    """The weights as half-precision safetensors, with the configuration and `meta` as JSON inside."""
    tensors = {name: t.half() if t.dtype.is_floating_point else t for name, t in network.state_dict().items()}
    header = {
        "format": "emovox.compact_teacher",
        "config": json.dumps(asdict(network.config)),
        "meta": json.dumps(meta),
    }
    return safetensors.torch.save({name: t.contiguous() for name, t in tensors.items()}, header)


def load_compact_teacher(weights: bytes) -> CompactTeacher:
    """Raises ValueError if the bytes are not a compact teacher that this version can read."""
    try:
        tensors, header = read_safetensors(weights)
        config = json.loads(header["config"])
        lists = {name: tuple(config[name]) for name in ("widths", "blocks")}
        if sum(lists["blocks"]) > len(tensors):
            raise ValueError(f"{sum(lists['blocks'])} blocks of {len(tensors)} tensors")
        described = CompactTeacherConfig(**config | lists)
        require_fitting(lambda: CompactTeacher(described).state_dict(), tensors)
        network = CompactTeacher(described)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"not a compact teacher checkpoint ({reason}); train one with `emovox train-teacher`, or fetch the file again"
        ) from error
    network.load_state_dict({name: t.float() if t.dtype.is_floating_point else t for name, t in tensors.items()})
    return network
