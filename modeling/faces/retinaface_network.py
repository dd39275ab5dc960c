"""The two RetinaFace networks. Their bodies differ; pyramid, context modules, heads and priors are the same.

Shape letters: B frames, C channels, H, W pixels, P priors (two for each cell of the three pyramid levels).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from retinaface.net import FPN, SSH, conv_bn, conv_dw
from retinaface.network import RetinaFace
from torch import Tensor, nn

from modeling.layers import fold_batch_norms
from modeling.state_dicts import misfits, read_state_dict

STRIDES = (8, 16, 32)
"""Input pixels per cell of each pyramid level (both networks; retinaface-pytorch predict_single.py)."""

PRIOR_SIDES = ((16, 32), (64, 128), (256, 512))
"""Sides in pixels of each cell's two square priors, for each stride."""


class MobileNetBody(nn.Module):
    """MobileNet v1 at a quarter of its width (biubug6/Pytorch_Retinaface models/net.py, `MobileNetV1`)."""

    def __init__(self):
        super().__init__()
        self.stage1 = nn.Sequential(
            conv_bn(3, 8, 2, leaky=0.1),
            conv_dw(8, 16, 1),
            conv_dw(16, 32, 2),
            conv_dw(32, 32, 1),
            conv_dw(32, 64, 2),
            conv_dw(64, 64, 1),
        )
        self.stage2 = nn.Sequential(conv_dw(64, 128, 2), *(conv_dw(128, 128, 1) for _ in range(5)))
        self.stage3 = nn.Sequential(conv_dw(128, 256, 2), conv_dw(256, 256, 1))

    def forward(self, x_BCHW: Tensor) -> dict[str, Tensor]:
        level1 = self.stage1(x_BCHW)
        level2 = self.stage2(level1)
        return {"level1": level1, "level2": level2, "level3": self.stage3(level2)}


class MobileNetRetinaFace(RetinaFace):
    """RetinaFace on `MobileNetBody`. The package's own constructor only builds ResNet-50, so it is not called."""

    def __init__(self):
        nn.Module.__init__(self)
        self.body = MobileNetBody()
        self.fpn = FPN([64, 128, 256], 64)
        self.ssh1, self.ssh2, self.ssh3 = SSH(64, 64), SSH(64, 64), SSH(64, 64)
        self.ClassHead = self._make_class_head()
        self.BboxHead = self._make_bbox_head()
        self.LandmarkHead = self._make_landmark_head()


def _resnet50() -> RetinaFace:
    """The network that `retinaface.predict_single.Model` builds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the package uses torchvision's deprecated argument for weights
        return RetinaFace("Resnet50", False, 256, {"layer2": 1, "layer3": 2, "layer4": 3}, 256)


@dataclass(frozen=True)
class Variant:
    """A network and its training input: (pixel 0-255 - mean) / deviation, both in RGB order."""

    build: Callable[[], RetinaFace]
    trained_on: str  # channel order of its input, "RGB" or "BGR"
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    quick: bool  # whether a quick first pass pays off: on a CPU, which the small network is meant for


VARIANTS = {
    "mobilenet0.25": Variant(MobileNetRetinaFace, "BGR", (123.0, 117.0, 104.0), (1.0, 1.0, 1.0), True),
    "resnet50": Variant(_resnet50, "RGB", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False),
}
"""Sources: biubug6/Pytorch_Retinaface detect.py; retinaface-pytorch predict_single.py (albumentations' default)."""


def prior_boxes(height: int, width: int) -> np.ndarray:
    """float32 (P, 4): centre x, centre y, width, height of every prior in pixels of the scaled frame.

    In the order of the network's outputs: level, row, column, side. The package's `priorbox` gives the same relative to
    the picture's size, but its loops take longer than the network.
    """
    levels: list[np.ndarray] = []
    for stride, sides in zip(STRIDES, PRIOR_SIDES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x, side = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, sides, indexing="ij")
        levels.append(np.stack([x * stride, y * stride, side, side], axis=-1).reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def load_network(name: str, weights: bytes) -> RetinaFace:
    """The network `name` of `VARIANTS` with these weights, in evaluation mode; its input is RGB pixels 0-255 minus its mean.

    Batch norms, channel order and deviation are folded into the convolutions.
    weights: a file of `torch.save(state_dict)`; names may carry the "module." of DataParallel.
    Raises a ValueError that says what is wrong with the name or the weights, and what to give.
    """
    if name not in VARIANTS:
        raise ValueError(f"no RetinaFace network is called {name!r}; choose one of {sorted(VARIANTS)}")
    with torch.device("meta"):
        network = VARIANTS[name].build()
    try:
        state = read_state_dict(weights)
    except ValueError as error:
        raise ValueError(
            f"the weights for {name} ({len(weights)} bytes): {error}; give the file that "
            "torch.save(network.state_dict()) made, not an archive or a web page around it"
        ) from error
    if reason := misfits(network.state_dict(), state):
        raise ValueError(
            f"the weights do not fit RetinaFace {name}: tensors {reason}. Check that they belong to this network and not to "
            f"another of {sorted(VARIANTS)}"
        )
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(False)
    fold_batch_norms(network)
    _fold_input(network, VARIANTS[name])
    return network


def _fold_input(network: nn.Module, variant: Variant) -> None:
    """Makes the first convolution take RGB that is not divided by the deviation. The mean cannot be folded, because the
    zeros of the padding stand for it."""
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    weight_OCHW = first.weight if variant.trained_on == "RGB" else first.weight.flip(1)
    deviation_C = torch.tensor(variant.deviation)
    first.weight = nn.Parameter(weight_OCHW / deviation_C[:, None, None], requires_grad=False)
