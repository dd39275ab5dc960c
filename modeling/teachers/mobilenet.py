"""MobileNet v1 as a face-emotion network, which starts from weights that have learnt to tell people apart.

Shape letters: N faces, C channels, H = W pixels, E = 8 emotions. Sources: Howard et al. 2017, "MobileNets", table 1 (layers);
Keras `applications/mobilenet.py` (ReLU6, padding); A. Savchenko's HSE_FaceRec_tf (training on VGGFace2, means of the input).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modeling.emotions import EMOTIONS
from modeling.faces.ferplus import SIDE_PX
from modeling.state_dicts import misfits, read_safetensors, safetensors_metadata
from modeling.teachers.base import CropRule, TeacherNetwork

MEAN_RGB = (123.68, 116.779, 103.939)
"""Subtracted from pictures of 0-255; nothing is divided (HSE_FaceRec_tf, Keras' "caffe" mode)."""

BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Channels that come out, and stride, of each pair of a depthwise and a pointwise convolution."""

STEM_CHANNELS = 32
FORMAT = "emovox.mobilenet_teacher"


@dataclass(frozen=True, kw_only=True)
class MobileNetConfig:
    """side_px: of the network's input; a multiple of 32. dropout: before the classifier, while training."""

    side_px: int = 96
    dropout: float = 0.2


class ConvUnit(nn.Module):
    """Convolution, batch norm, ReLU6. TensorFlow's padding: a stride of 2 pads an even side below and right only."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, depthwise: bool = False):
        super().__init__()
        self.stride = stride
        groups = inputs if depthwise else 1
        padding = kernel // 2 if stride == 1 else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.relu6(self.bn(self.convolved(x_NCHW)))

    def convolved(self, x_NCHW: Tensor) -> Tensor:
        return self.conv(x_NCHW if self.stride == 1 else F.pad(x_NCHW, (0, 1, 0, 1)))


class MobileNetTeacher(nn.Module):
    """Faces (N, 3, side, side) as `prepare` gives them -> logits (N, E)."""

    def __init__(self, config: MobileNetConfig = MobileNetConfig()):
        super().__init__()
        self.config = config
        units = [ConvUnit(3, STEM_CHANNELS, 3, 2)]
        channels = STEM_CHANNELS
        for outputs, stride in BLOCKS:
            units += [ConvUnit(channels, channels, 3, stride, depthwise=True), ConvUnit(channels, outputs, 1)]
            channels = outputs
        self.units = nn.Sequential(*units)
        self.classifier = nn.Linear(channels, len(EMOTIONS))

    @property
    def conv_units(self) -> list[ConvUnit]:
        return [unit for unit in self.units if isinstance(unit, ConvUnit)]

    def features(self, faces_NCHW: Tensor) -> Tensor:
        """(N, 1024): what the classifier sees."""
        return self.units(faces_NCHW).mean((2, 3))

    def forward(self, faces_NCHW: Tensor) -> Tensor:
        return self.classifier(F.dropout(self.features(faces_NCHW), self.config.dropout, self.training))


def prepare(crops: Tensor, side_px: int) -> Tensor:
    """Crops 0-255, grey (N, H, W) or RGB (N, H, W, 3) -> float (N, 3, side, side), minus `MEAN_RGB`.

    Enlarged linearly where they are smaller: FER+'s faces have 48 pixels, and a sharper face is another sight.
    """
    grey_or_rgb = crops.float().unsqueeze(1) if crops.ndim == 3 else crops.float().permute(0, 3, 1, 2)
    if crops.shape[1] != side_px:
        grey_or_rgb = F.interpolate(grey_or_rgb, (side_px, side_px), mode="bilinear", align_corners=False)
    return grey_or_rgb - torch.tensor(MEAN_RGB, device=crops.device)[:, None, None]


def mobilenet_teacher(network: MobileNetTeacher) -> TeacherNetwork:
    """How the network is used: grey crops of FER+'s 48 pixels, enlarged; the mean of a face and its mirror image."""
    rule = CropRule(side_px=SIDE_PX, grey=True, scale=0.8)
    side_px = network.config.side_px
    return TeacherNetwork(
        network, lambda crops: prepare(crops, side_px), rule, flip_tta=True, classifier=network.classifier
    )


@torch.no_grad()
def settle_batch_norms(network: MobileNetTeacher, faces_NCHW: Tensor) -> None:
    """Gives every batch norm the mean and variance that it meets with these faces, and takes them back in its scale and
    shift: the network computes what it did, and goes on doing so when training begins to normalise by batches.
    """
    x = faces_NCHW
    for unit in network.conv_units:
        norm, y = unit.bn, unit.convolved(x)
        assert norm.running_mean is not None and norm.running_var is not None
        old_scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        var, mean = torch.var_mean(y, (0, 2, 3), unbiased=False)
        norm.bias.add_((mean - norm.running_mean) * old_scale)
        norm.weight.copy_(old_scale * (var + norm.eps).sqrt())
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        x = unit(x)


def save_mobilenet(network: MobileNetTeacher, meta: Mapping[str, Any]) -> bytes:
    """safetensors in half precision; configuration and `meta` are kept inside as JSON."""
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    return _file(tensors, network.config, meta)


def save_body(network: MobileNetTeacher, meta: Mapping[str, Any]) -> bytes:
    """All but the classifier, as it is: what `start_from` begins with."""
    tensors = {name: t for name, t in network.state_dict().items() if not name.startswith("classifier.")}
    return _file(tensors, network.config, meta)


def load_mobilenet(weights: bytes) -> MobileNetTeacher:
    """Raises ValueError if the bytes are not a MobileNet teacher that this version can read."""
    tensors, config = _read(weights)
    network = MobileNetTeacher(config)
    _load(network, tensors)
    return network


def start_from(network: MobileNetTeacher, weights: bytes) -> None:
    """Gives the network the weights of a file; where the file has no classifier, the network keeps its own.

    Raises ValueError if the file holds neither a MobileNet teacher nor the body of one.
    """
    tensors, _ = _read(weights)
    own = {name: t for name, t in network.state_dict().items() if name.startswith("classifier.")}
    _load(network, own | tensors)


def is_mobilenet(weights: bytes) -> bool:
    """By the format that a safetensors file names."""
    return FORMAT in safetensors_metadata(weights)


def _file(tensors: Mapping[str, Tensor], config: MobileNetConfig, meta: Mapping[str, Any]) -> bytes:
    header = {FORMAT: json.dumps({"config": asdict(config), "meta": meta})}  # of several keys the order would be random
    return safetensors.torch.save({name: t.contiguous() for name, t in tensors.items()}, header)


def _read(weights: bytes) -> tuple[dict[str, Tensor], MobileNetConfig]:
    try:
        tensors, header = read_safetensors(weights)
        if FORMAT not in header:
            raise ValueError(f"its header names no {FORMAT!r}")
        return tensors, MobileNetConfig(**json.loads(header[FORMAT])["config"])
    except (KeyError, ValueError, TypeError) as error:
        raise _unreadable(error) from error


def _load(network: MobileNetTeacher, tensors: Mapping[str, Tensor]) -> None:
    if reason := misfits(network.state_dict(), tensors):
        raise _unreadable(reason)
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})


def _unreadable(reason: object) -> ValueError:
    shown = " ".join(str(reason).split())[:300]
    return ValueError(f"not a MobileNet teacher ({shown}); train one with `emovox train-teacher --recipe pretrained`")
