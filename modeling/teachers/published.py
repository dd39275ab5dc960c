"""The authors' face-emotion networks: SENet-50 and ResNet-50, fine-tuned on FER+, with the names in their weight files.

Shape letters: N faces, C channels, H = W pixels, E = 8 emotions. Sources, all by S. Albanie: the exported
`senet50_ferplus_dag.py` and `resnet50_ferplus_dag.py` (layers), mcnCrossModalEmotions `teacher/` (input, fine-tuning).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modeling.emotions import EMOTIONS
from modeling.state_dicts import misfits, read_state_dict
from modeling.teachers.base import CropRule, TeacherNetwork
from modeling.teachers.catalogue import PUBLISHED

SIDE_PX = 224
"""Side of the input (`meta["imageSize"]` of the exported networks)."""

MEAN_RGB = (131.0912, 103.8827, 91.4953)
"""Subtracted from pictures of 0-255, without any division (`meta["mean"]`, `meta["std"]` = 1 of the exported networks)."""

RESNET_STAGES = {2: (64, 3), 3: (128, 4), 4: (256, 6), 5: (512, 3)}
"""Stage number -> channels inside its blocks (they output four times as many) and number of blocks."""

STEM = "conv1_7x7_s2"
FEATURES = 2048
GATE_REDUCTION = 16


class UncountedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation without `num_batches_tracked`, which the published files do not have."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-5, momentum=0.1)
        self.num_batches_tracked = None

    def _load_from_state_dict(self, *args: Any):  # pyright: ignore[reportIncompatibleMethodOverride]
        nn.Module._load_from_state_dict(self, *args)  # the parent would add the counter to such files


class FerPlusNetwork(nn.Module):
    """Faces (N, 3, 224, 224) from `prepare` -> logits (N, classes).

    The first block of stages 3 to 5 halves the picture in its 1x1 convolutions (as in Caffe), not in the 3x3 one.
    dropout: rate at the two places of the authors' fine-tuning, the last two convolutions before the classifier.
    """

    def __init__(self, gated: bool, classes: int = len(EMOTIONS), dropout: float = 0.0):
        super().__init__()
        self.gated, self.dropout = gated, dropout
        places = ("1x1_down", "1x1_up") if gated else ("3x3", "1x1_increase")
        self.dropped = {f"conv5_3_{place}" for place in places} if dropout > 0 else set[str]()
        self.block_names = [f"conv{s}_{k}" for s, (_, blocks) in RESNET_STAGES.items() for k in range(1, blocks + 1)]
        self._add_conv_bn(STEM, 3, 64, 7, stride=2)
        channels = 64
        for name in self.block_names:
            width = RESNET_STAGES[int(name[4])][0]
            self._add_block(name, channels, width)
            channels = 4 * width
        self.classifier = nn.Conv2d(FEATURES, classes, 1)

    def forward(self, faces_NCHW: Tensor) -> Tensor:
        x = self.stem(faces_NCHW)
        for name in self.block_names:
            x = self.block(name, x)
        return self.classifier(F.avg_pool2d(x, 7, 1)).flatten(1)

    def stem(self, faces_NCHW: Tensor) -> Tensor:
        """-> (N, 64, 56, 56). The pooling is not padded; its last windows extend beyond the border."""
        x = F.relu(self._conv_bn(STEM, faces_NCHW), inplace=True)
        return F.max_pool2d(x, 3, 2, padding=0, ceil_mode=True)

    def block(self, name: str, x_NCHW: Tensor) -> Tensor:
        """One residual block, such as "conv3_1"."""
        y = F.relu(self._conv_bn(f"{name}_1x1_reduce", x_NCHW), inplace=True)
        y = F.relu(self._conv_bn(f"{name}_3x3", y), inplace=True)
        y = self._conv_bn(f"{name}_1x1_increase", y)
        if self.gated:
            gate = F.relu(self._conv(f"{name}_1x1_down", y.mean((2, 3), keepdim=True)))
            y = torch.sigmoid(self._conv(f"{name}_1x1_up", gate)) * y
        shortcut = self._conv_bn(f"{name}_1x1_proj", x_NCHW) if name.endswith("_1") else x_NCHW
        return F.relu(y + shortcut, inplace=True)

    def _conv(self, name: str, x: Tensor) -> Tensor:
        y = getattr(self, name)(x)
        return F.dropout(y, self.dropout, self.training) if name in self.dropped else y

    def _conv_bn(self, name: str, x: Tensor) -> Tensor:
        return getattr(self, f"{name}_bn")(self._conv(name, x))

    def _add_block(self, name: str, inputs: int, width: int) -> None:
        outputs, first = 4 * width, name.endswith("_1")
        stride = 2 if first and inputs > 64 else 1
        self._add_conv_bn(f"{name}_1x1_reduce", inputs, width, 1, stride)
        self._add_conv_bn(f"{name}_3x3", width, width, 3)
        self._add_conv_bn(f"{name}_1x1_increase", width, outputs, 1)
        if self.gated:
            self.add_module(f"{name}_1x1_down", nn.Conv2d(outputs, outputs // GATE_REDUCTION, 1))
            self.add_module(f"{name}_1x1_up", nn.Conv2d(outputs // GATE_REDUCTION, outputs, 1))
        if first:
            self._add_conv_bn(f"{name}_1x1_proj", inputs, outputs, 1, stride)

    def _add_conv_bn(self, name: str, inputs: int, outputs: int, side: int, stride: int = 1) -> None:
        self.add_module(name, nn.Conv2d(inputs, outputs, side, stride, padding=side // 2, bias=False))
        self.add_module(f"{name}_bn", UncountedBatchNorm2d(outputs))


def load_published(weights: bytes, name: str | None = None) -> tuple[str, FerPlusNetwork]:
    """The name of the published network in a PyTorch file, and the network. No code in the file is run.

    The classifier may be a 1x1 convolution or linear. Counters of batch normalisation, a "module." prefix and a wrapping
    {"state_dict": ...} are removed.
    Raises ValueError if the file holds no state dict, another network (or another than `name`), or NaN or infinity.
    """
    tensors = _read_tensors(weights)
    found = next(known for known, network in PUBLISHED.items() if network.gated == _is_gated(tensors))
    if tensors.get("classifier.weight", torch.empty(0)).ndim == 2:
        tensors["classifier.weight"] = tensors["classifier.weight"][:, :, None, None]
    wanted = f"{' or '.join(PUBLISHED)}; compared with {found} ({PUBLISHED[found].url})"
    network = _network(tensors, PUBLISHED[found].gated, wanted)
    if name not in (None, found):
        raise ValueError(f"the file holds {found}, not {name}; name the file by its path, or fetch the other one")
    return found, network


def initialised_from(weights: bytes, gated: bool, seed: int, dropout: float) -> FerPlusNetwork:
    """A network to fine-tune: the body of a VGGFace2 release (`senet50_ft_dag`, `resnet50_ft_dag`) and a new classifier.

    The classifier is 0.01 * randn with bias 0 (mcnCrossModalEmotions ferPlusZoo.m); the file's own classifier is ignored.
    Raises ValueError if the body does not fit, like `load_published`.
    """
    tensors = {name: t for name, t in _read_tensors(weights).items() if not name.startswith("classifier.")}
    rng = torch.Generator().manual_seed(seed)
    tensors["classifier.weight"] = 0.01 * torch.randn(len(EMOTIONS), FEATURES, 1, 1, generator=rng)
    tensors["classifier.bias"] = torch.zeros(len(EMOTIONS))
    body = "senet50" if gated else "resnet50"
    return _network(tensors, gated, f"a {body} such as {body}_ft_dag, trained on VGGFace2", dropout)


def published_teacher(weights: bytes, name: str | None = None) -> tuple[str, TeacherNetwork]:
    """The published network in a file, ready for use. Raises ValueError like `load_published`."""
    found, network = load_published(weights, name)
    return found, published_parts(network)


def published_parts(network: FerPlusNetwork) -> TeacherNetwork:
    """How the authors use it: the grey face box, without a mirror image (mcnCrossModalEmotions fetch_emovoxceleb_imdb.m)."""
    rule = CropRule(side_px=SIDE_PX, grey=True, scale=1.0)
    return TeacherNetwork(network, prepare, rule, classifier=network.classifier)


def prepare(crops_NHW: Tensor) -> Tensor:
    """Grey crops 0-255 (N, H, W) -> float (N, 3, H, W): the grey value in each channel, minus `MEAN_RGB`.

    Source: mcnCrossModalEmotions fetch_emovoxceleb_imdb.m, and normalizeFace in teacher/ferplus_baselines.m.
    """
    return crops_NHW.to(torch.float32)[:, None] - torch.tensor(MEAN_RGB, device=crops_NHW.device)[:, None, None]


def _is_gated(tensors: dict[str, Tensor]) -> bool:
    return any("_1x1_down." in name for name in tensors)


def _read_tensors(weights: bytes) -> dict[str, Tensor]:
    """The state dict in a PyTorch file, without wrapping, prefix and counters."""
    try:
        tensors = read_state_dict(weights)
    except ValueError as error:
        expected = PUBLISHED["senet50_ferplus"].url
        raise ValueError(f"the file holds {error}; expected a state dict such as {expected}") from error
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(".num_batches_tracked")}


def _network(tensors: dict[str, Tensor], gated: bool, wanted: str, dropout: float = 0.0) -> FerPlusNetwork:
    """The network with these tensors as its weights. Raises a ValueError that lists what does not fit."""
    with torch.device("meta"):
        network = FerPlusNetwork(gated, dropout=dropout)
    expected = network.state_dict()
    if reason := misfits(expected, tensors):
        raise ValueError(f"these are not the weights of {wanted}, which has {len(expected)} tensors: {reason}")
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()}, assign=True)
    return network
