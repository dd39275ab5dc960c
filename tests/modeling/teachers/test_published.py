"""The published networks against three other implementations, and what their weight files may look like.

Each network is compared with plain functions written from the description of its layers, and with torchvision's ResNet-50
(strides and pooling moved; its squeeze-and-excitation for the SENet). Weights come from a formula.
"""

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.ops import SqueezeExcitation

from modeling.teachers.base import Teacher, fit
from modeling.teachers.catalogue import PUBLISHED
from modeling.teachers.published import (
    FerPlusNetwork,
    load_published,
    prepare,
    published_teacher,
)
from tests.support.published_states import (
    BLOCKS,
    MEAN,
    NAMES,
    RESNET_STAGES,
    file_of,
    published_shapes,
    some_faces,
    state_named,
)


@pytest.fixture(scope="module")
def faces_NCHW() -> torch.Tensor:
    return torch.from_numpy(some_faces(2, 224))[:, None].float() - torch.tensor(MEAN)[:, None, None]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=NAMES)
def network(request) -> FerPlusNetwork:
    found, network = load_published(file_of(state_named(request.param)))
    assert found == request.param
    return network.eval()


def state_of(network: FerPlusNetwork) -> OrderedDict:
    return state_named("senet50_ferplus" if network.gated else "resnet50_ferplus")


# --- the layers


def conv_norm(state, name, x, stride=1, padding=0):
    x = F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)
    mean, var, weight, bias = (
        state[f"{name}_bn.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def reference_stem(state, x):
    """Pooling written as the maximum of shifted pictures: padded right and below only, where a window reaches over."""
    x = conv_norm(state, "conv1_7x7_s2", x, stride=2, padding=3).clamp(min=0)
    x = torch.cat([x, torch.full_like(x[:, :, :1], -math.inf)], 2)
    x = torch.cat([x, torch.full_like(x[..., :1], -math.inf)], 3)
    shifts = [x[:, :, dy : dy + 111 : 2, dx : dx + 111 : 2] for dy in range(3) for dx in range(3)]
    return torch.stack(shifts).amax(0)


def reference_block(state, block, x):
    stride = 2 if block in ("conv3_1", "conv4_1", "conv5_1") else 1
    u = conv_norm(state, f"{block}_1x1_reduce", x, stride=stride).clamp(min=0)
    u = conv_norm(state, f"{block}_3x3", u, padding=1).clamp(min=0)
    u = conv_norm(state, f"{block}_1x1_increase", u)
    if f"{block}_1x1_down.weight" in state:
        down, up = (state[f"{block}_1x1_{part}.weight"][:, :, 0, 0] for part in ("down", "up"))
        squeezed = (u.mean((2, 3)) @ down.T + state[f"{block}_1x1_down.bias"]).clamp(min=0)
        gate = 1 / (1 + torch.exp(-(squeezed @ up.T + state[f"{block}_1x1_up.bias"])))
        u = gate[:, :, None, None] * u
    if f"{block}_1x1_proj.weight" in state:
        x = conv_norm(state, f"{block}_1x1_proj", x, stride=stride)
    return (u + x).clamp(min=0)


def assert_close(ours, theirs):
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


@torch.no_grad()
def test_every_block_and_the_logits_equal_plain_functions(network, faces_NCHW):
    state = state_of(network)
    x = reference_stem(state, faces_NCHW)
    assert x.shape == (2, 64, 56, 56)
    assert_close(network.stem(faces_NCHW), x)
    for block in BLOCKS:
        y = reference_block(state, block, x)
        assert_close(network.block(block, x), y)
        assert 0.05 < y.std() < 50  # neither dead nor exploded: the comparison says something
        x = y
    assert x.shape == (2, 2048, 7, 7)
    logits = x.mean((2, 3)) @ state["classifier.weight"][:, :, 0, 0].T + state["classifier.bias"]
    assert_close(network(faces_NCHW), logits)
    assert (logits[0] - logits[1]).abs().max() > 0.01 * logits.abs().max()


def torchvision_network(state: OrderedDict, gated: bool) -> nn.Module:
    """torchvision's ResNet-50 with the strides on the first 1x1 convolutions and the pooling not padded."""
    theirs = torchvision.models.resnet50(num_classes=8)
    theirs.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
    pairs = {"conv1": "conv1_7x7_s2", "bn1": "conv1_7x7_s2_bn", "fc": "classifier"}
    for stage, (_, blocks) in RESNET_STAGES.items():
        for k in range(blocks):
            layer, ours = f"layer{stage - 1}.{k}", f"conv{stage}_{k + 1}"
            block = theirs.get_submodule(layer)
            if k == 0 and stage > 2:
                block.conv1.stride, block.conv2.stride = (2, 2), (1, 1)
            for number, part in enumerate(("1x1_reduce", "3x3", "1x1_increase"), start=1):
                pairs |= {f"{layer}.conv{number}": f"{ours}_{part}", f"{layer}.bn{number}": f"{ours}_{part}_bn"}
            if gated:
                channels = block.conv3.out_channels
                block.bn3 = nn.Sequential(block.bn3, SqueezeExcitation(channels, channels // 16))
                del pairs[f"{layer}.bn3"]
                pairs |= {f"{layer}.bn3.0": f"{ours}_1x1_increase_bn"}
                pairs |= {f"{layer}.bn3.1.fc1": f"{ours}_1x1_down", f"{layer}.bn3.1.fc2": f"{ours}_1x1_up"}
            if k == 0:
                pairs |= {f"{layer}.downsample.0": f"{ours}_1x1_proj", f"{layer}.downsample.1": f"{ours}_1x1_proj_bn"}
    copied = {}
    for name in theirs.state_dict():
        module, _, part = name.rpartition(".")
        if part != "num_batches_tracked":
            copied[name] = state[f"{pairs[module]}.{part}"]
    copied["fc.weight"] = copied["fc.weight"][:, :, 0, 0]
    theirs.load_state_dict(copied, strict=False)
    assert len(copied) == len(state)
    return theirs.eval()


@torch.no_grad()
def test_the_logits_equal_those_of_torchvisions_parts(network, faces_NCHW):
    theirs = torchvision_network(state_of(network), network.gated)
    assert_close(network(faces_NCHW), theirs(faces_NCHW))


@torch.no_grad()
@pytest.mark.parametrize("block", ["conv3_1", "conv4_1", "conv5_1"])
def test_the_first_block_of_a_stage_never_sees_every_second_pixel(network, block):
    """The stride is on the 1x1 convolutions. On the 3x3 one, the other pixels would count."""
    inputs = {"conv3_1": 256, "conv4_1": 512, "conv5_1": 1024}[block]
    x = torch.randn(1, inputs, 8, 8, generator=torch.Generator().manual_seed(0))
    kept = torch.zeros_like(x)
    kept[:, :, ::2, ::2] = x[:, :, ::2, ::2]
    assert torch.equal(network.block(block, x), network.block(block, kept))
    assert network.block(block, x).shape[2:] == (4, 4)


@torch.no_grad()
def test_windows_of_the_pooling_start_at_the_corner_and_reach_over_the_far_border():
    """Lone bright pixels, passed through the convolution as they are: row and column 2 are in windows 0 and 1."""
    network = FerPlusNetwork(gated=False).eval()
    network.conv1_7x7_s2.weight.zero_()
    network.conv1_7x7_s2.weight[:, :, 3, 3] = 1
    faces = torch.zeros(1, 3, 224, 224)
    faces[:, 0, 2 * 2, 2 * 2], faces[:, 0, 2 * 111, 2 * 111] = 7, 9
    pooled = network.stem(faces)[0, 0].round()
    assert pooled.shape == (56, 56)
    assert pooled[:3, :3].tolist() == [[7, 7, 0], [7, 7, 0], [0, 0, 0]]
    assert pooled[54:, 54:].tolist() == [[0, 0], [0, 9]]


# --- names, shapes, files


@pytest.mark.parametrize(("name", "tensors", "parameters"), [(NAMES[0], 331, 26055416), (NAMES[1], 267, 23524424)])
def test_names_and_shapes_are_the_published_ones(name, tensors, parameters):
    network = FerPlusNetwork(PUBLISHED[name].gated)
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    assert shapes == published_shapes(name.startswith("senet"))
    assert len(shapes) == tensors
    assert sum(p.numel() for p in network.parameters()) == parameters
    network.load_state_dict(OrderedDict(state_named(name)), strict=True)
    assert PUBLISHED[name].url.endswith(f"/{name}_dag.pth")


@torch.no_grad()
@pytest.mark.parametrize("gated", [True, False])
def test_dropout_acts_after_the_last_two_convolutions_and_only_in_training(gated):
    """Both convolutions are made to give a constant: right behind them half is 0 and half the double."""
    network = FerPlusNetwork(gated, dropout=0.5)
    seen = []

    def force(layer: str, value: float) -> None:
        layer = network.get_submodule(f"conv5_3_{layer}")
        layer.register_forward_hook(lambda module, inputs, output: torch.full_like(output, value))

    def watch(layer: str) -> None:
        network.get_submodule(f"conv5_3_{layer}").register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0])
        )

    if gated:
        force("1x1_increase_bn", 1.0)
        force("1x1_down", 1.0)
        watch("1x1_up")
        force("1x1_up", 100.0)  # its gate opens, or is left half open by a 0
    else:
        force("3x3", 1.0)
        watch("3x3_bn")
        force("1x1_increase", 1.0)
        watch("1x1_increase_bn")

    def values() -> list[set[float]]:
        seen.clear()
        output = network.block("conv5_3", torch.zeros(4, 2048, 7, 7))
        return [set(tensor.unique().tolist()) for tensor in ([*seen, output] if gated else seen)]

    network.eval()
    assert values() == [{1.0}, {1.0}]
    network.train()
    assert values() == [{0.0, 2.0}, {0.5, 1.0} if gated else {0.0, 2.0}]


# --- input


def test_prepare_by_hand():
    crops = torch.zeros(2, 224, 224, dtype=torch.uint8)
    crops[1, 3, 5] = 255
    x = prepare(crops)
    assert x.shape == (2, 3, 224, 224) and x.dtype == torch.float32
    assert x[0, :, 0, 0].tolist() == pytest.approx([-131.0912, -103.8827, -91.4953])
    assert x[1, :, 3, 5].tolist() == pytest.approx([123.9088, 151.1173, 163.5047])


def test_a_small_face_is_enlarged_as_pil_does():
    _, parts = published_teacher(file_of(state_named("resnet50_ferplus")))
    assert (
        parts.crop_rule.side_px == 224 and parts.crop_rule.grey and parts.crop_rule.scale == 1.0 and not parts.flip_tta
    )
    faces = np.random.default_rng(1).integers(0, 256, (3, 48, 48), np.uint8)
    pil = [np.asarray(Image.fromarray(face).resize((224, 224), Image.Resampling.BILINEAR)) for face in faces]
    assert np.abs(fit(faces, parts.crop_rule).astype(int) - np.stack(pil)).max() <= 1


def test_a_teacher_feeds_the_network_what_prepare_gives(network, faces_NCHW):
    name, parts = published_teacher(file_of(state_of(network)))
    logits = Teacher(name, b"", parts)(some_faces(2, 224))
    with torch.no_grad():
        assert_close(torch.from_numpy(logits), network(faces_NCHW))
