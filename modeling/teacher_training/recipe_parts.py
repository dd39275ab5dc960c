"""Parts of a teacher's recipe: how faces are changed at random, and how a pretrained network is taught."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FaceJitter:
    """Ranges of the changes; each face is changed differently.

    rotation_deg, zoom, shift: of an affine map (degrees; factor; share of the width); half of the faces are also mirrored
    gamma: the contrast curve's power is drawn between 1 / gamma and gamma
    cutout_share: side of the erased square, as a share of the width
    """

    rotation_deg: float = 10.0
    zoom: float = 1.15
    shift: float = 0.06
    gamma: float = 1.42
    cutout_share: float = 0.25


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """side_px: of the network's input, except in the recipe's `small_epochs`.

    block_decay: what the rate of a block (two layers) is to that of the one above it.
    settling_faces: training faces by which batch norms are given their first statistics.
    """

    side_px: int = 128
    block_decay: float = 0.8
    settling_faces: int = 256


def cosine_rate(peak_lr: float, step: int, warmup: float, steps: int) -> float:
    """Rises linearly over `warmup` steps, then falls along half a cosine to nearly 0 at the last of `steps`."""
    if step < warmup:
        return peak_lr * (step + 1) / warmup
    return peak_lr * (1 + math.cos(math.pi * (step - warmup + 1) / (steps - warmup + 1))) / 2
