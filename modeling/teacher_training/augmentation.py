"""Random changes of FER+ faces while a teacher trains.

Shape letters: N images, H = W pixels.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from modeling.teacher_training.recipe_parts import FaceJitter
from modeling.teachers.compact import normalise_faces


def jittered(
    faces_NHW: Tensor,
    jitter: FaceJitter,
    side_px: int,
    rng: torch.Generator,
    normalise: Callable[[Tensor], Tensor] = normalise_faces,
) -> Tensor:
    """uint8 (N, 48, 48) -> float (N, C, side, side): flip, rotation, zoom, shift, contrast, then cutout, which leaves 0.

    normalise: faces 0-255 (N, side, side) -> the network's input (N, C, side, side).
    """
    n = len(faces_NHW)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=rng) * (high - low) + low

    angle = uniform(-1, 1) * math.radians(jitter.rotation_deg)
    scale = torch.exp(uniform(-1, 1) * math.log(jitter.zoom))
    flip = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    row_x = torch.stack([cos * flip, -sin, uniform(-2, 2) * jitter.shift], 1)
    row_y = torch.stack([sin * flip, cos, uniform(-2, 2) * jitter.shift], 1)
    grid = F.affine_grid(torch.stack([row_x, row_y], 1), [n, 1, side_px, side_px], align_corners=False)
    faces = F.grid_sample(faces_NHW.float().unsqueeze(1), grid, padding_mode="border", align_corners=False)
    gamma = torch.exp(uniform(-1, 1) * math.log(jitter.gamma)).view(-1, 1, 1, 1)
    x = normalise(((faces / 255).clamp(0, 1) ** gamma * 255).squeeze(1))
    hole, middle = jitter.cutout_share / 2 * side_px, torch.arange(side_px) + 0.5
    far_x = (middle[None] - uniform(0, side_px)[:, None]).abs() > hole
    far_y = (middle[None] - uniform(0, side_px)[:, None]).abs() > hole
    return x * (far_y[:, None, :, None] | far_x[:, None, None, :])
