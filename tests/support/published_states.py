"""State dicts of the published networks, filled by a formula.

Names and shapes are those of the authors' PyTorch files, senet50_ferplus_dag.py and resnet50_ferplus_dag.py.
"""

import functools
import io
import math
from collections import OrderedDict

import numpy as np
import torch
from PIL import Image

NAMES = ("senet50_ferplus", "resnet50_ferplus")
RESNET_STAGES = {2: (64, 3), 3: (128, 4), 4: (256, 6), 5: (512, 3)}
BLOCKS = [f"conv{stage}_{k}" for stage, (_, blocks) in RESNET_STAGES.items() for k in range(1, blocks + 1)]
MEAN = (131.0912, 103.8827, 91.4953)


def published_shapes(gated: bool) -> dict[str, tuple[int, ...]]:
    """Name -> shape, in the order of the authors' files (the exported senet50_ferplus_dag.py)."""
    shapes = {}

    def conv(name, outputs, inputs, side, biased=False):
        shapes[f"{name}.weight"] = (outputs, inputs, side, side)
        if biased:
            shapes[f"{name}.bias"] = (outputs,)

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)

    conv("conv1_7x7_s2", 64, 3, 7)
    norm("conv1_7x7_s2_bn", 64)
    inputs = 64
    for block in BLOCKS:
        width = RESNET_STAGES[int(block[4])][0]
        for layer, sizes in (
            ("1x1_reduce", (width, inputs, 1)),
            ("3x3", (width, width, 3)),
            ("1x1_increase", (4 * width, width, 1)),
        ):
            conv(f"{block}_{layer}", *sizes)
            norm(f"{block}_{layer}_bn", sizes[0])
        if gated:
            conv(f"{block}_1x1_down", width // 4, 4 * width, 1, biased=True)
            conv(f"{block}_1x1_up", 4 * width, width // 4, 1, biased=True)
        if block.endswith("_1"):
            conv(f"{block}_1x1_proj", 4 * width, inputs, 1)
            norm(f"{block}_1x1_proj_bn", 4 * width)
        inputs = 4 * width
    conv("classifier", 8, 2048, 1, biased=True)
    return shapes


def filled(shapes: dict[str, tuple[int, ...]]) -> OrderedDict:
    """Weights by a formula, sin(i * i), scaled so that activations stay of order one for pictures of 0-255."""
    state = OrderedDict()
    for number, (name, shape) in enumerate(shapes.items()):
        i = torch.arange(math.prod(shape), dtype=torch.float64) % 8191 + number
        wave = torch.sin(0.37 * i * i).reshape(shape).float()
        if name.endswith("running_var"):
            state[name] = 1 + 0.5 * wave
        elif name.endswith("_bn.weight"):
            state[name] = (0.25 if "increase" in name else 1.0) + 0.1 * wave
        elif len(shape) == 4:
            state[name] = wave * (2 / math.sqrt(math.prod(shape[1:]))) / (60 if name.startswith("conv1_") else 1)
        else:
            state[name] = 0.3 * wave
    return state


@functools.cache
def state_named(name: str) -> OrderedDict:
    return filled(published_shapes(name.startswith("senet")))


def file_of(state, **options) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def some_faces(n: int, side_px: int) -> np.ndarray:
    coarse = np.random.default_rng(3).integers(0, 256, (n, 12, 12), np.uint8)
    return np.stack([np.asarray(Image.fromarray(face).resize((side_px, side_px))) for face in coarse])
