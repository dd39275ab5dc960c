"""How a network that knows faces already is taught expressions: a gentle rate below, a full one at the classifier.

Shape letters: N images, H = W pixels.
"""

import torch
from torch import nn

from modeling.precision import has_fast_bfloat16
from modeling.teacher_training.recipe_parts import FineTuning
from modeling.teachers.mobilenet import MobileNetTeacher


def layerwise_adamw(
    network: MobileNetTeacher, tuning: FineTuning, *, peak_lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW with a group of parameters for each block; biases and batch norms do not decay."""
    groups = [
        {"params": chosen, "factor": factor, "weight_decay": weight_decay if decays else 0.0}
        for parameters, factor in _blocks(network, tuning.block_decay)
        for decays in (True, False)
        if (chosen := [p for p in parameters if (p.ndim > 1) == decays])
    ]
    return torch.optim.AdamW(groups, lr=peak_lr)


def _blocks(network: MobileNetTeacher, decay: float) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters and factor of the rate: the first convolution, the pairs of convolutions, the classifier (1)."""
    units = network.conv_units
    blocks = [units[:1], *(units[first : first + 2] for first in range(1, len(units), 2))]
    body = [
        ([p for unit in block for p in unit.parameters()], decay ** (len(blocks) - index))
        for index, block in enumerate(blocks)
    ]
    return [*body, (list(network.classifier.parameters()), 1.0)]


def half_precision(device: torch.device) -> bool:
    """Whether training runs in bfloat16 where it can: on a GPU, and on processors that multiply in it."""
    return device.type == "cuda" or has_fast_bfloat16()
