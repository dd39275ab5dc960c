"""The authors' random changes of FER+ faces during the fine-tuning of a published network.

Shape letters: N faces, C channels, H = W pixels. Source: mcnCrossModalEmotions teacher/ferplus_baselines.m.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from modeling.teachers.published import SIDE_PX, prepare


def paper_augment(faces_NHW: Tensor, rng: torch.Generator) -> Tensor:
    """The authors' training input: grey faces 0-255 (N, 48, 48) -> float (N, 3, 224, 224), each sampled by `paper_maps`.

    The mean is subtracted first, so that the area outside the picture is 0, the mean. Sampling is bilinear and aligns the
    centres of the corner pixels of picture and input (MatConvNet's vl_nnbilinearsampler), which enlarges by 4.74.
    `teachers.base.fit`, like the authors' PyTorch evaluation, aligns the outer edges and enlarges by 4.67.
    """
    faces_NCHW = prepare(faces_NHW)
    maps_N23 = paper_maps(len(faces_NHW), rng).to(faces_NHW.device)
    grid = F.affine_grid(maps_N23, [len(faces_NHW), 3, SIDE_PX, SIDE_PX], align_corners=True)
    return F.grid_sample(faces_NCHW, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def paper_maps(n: int, rng: torch.Generator) -> Tensor:
    """n random affine maps (N, 2, 3) from input to picture coordinates, both -1 to 1 (x, y).

    Half of all faces are mirrored. Half get zoom * skew * rotation and a shift (computeAugs in ferplus_baselines.m):
    zoom 0.96 to 1.04; skew by -0.1, 0 or 0.1 on each axis; rotation by -10, 0 or 10 degrees; shift on each axis by
    (zoom - 1) * (1 - 2 m), m from 1 to 9 = round(224 / 25). The formula expects m as a share of the window, 0 to 1, but the
    authors give pixels, which moves the picture by up to a third of its side (0.68 of 2). We keep this, since their
    networks were trained with it. vl_nnaffinegrid multiplies row vectors, so their rotation * skew acts transposed: skew
    comes first in the product.
    """

    def one_of(values: tuple[float, ...], *shape: int) -> Tensor:
        return torch.tensor(values)[torch.randint(len(values), shape, generator=rng)]

    zoom_N11 = 0.96 + 0.08 * torch.rand(n, 1, 1, generator=rng)
    shift_N21 = (zoom_N11 - 1) * (1 - 2 * torch.randint(1, 10, (n, 2, 1), generator=rng))
    angle = one_of((-math.pi / 18, 0.0, math.pi / 18), n)
    skew_x, skew_y = one_of((-0.1, 0.0, 0.1), 2, n)
    rotation_N22 = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(n, 2, 2)
    skew_N22 = torch.stack([torch.ones(n), skew_x, skew_y, torch.ones(n)], 1).view(n, 2, 2)
    maps_N23 = torch.cat([zoom_N11 * skew_N22 @ rotation_N22, shift_N21], 2)
    still_N = torch.rand(n, generator=rng) > 0.5
    maps_N23[still_N] = torch.eye(2, 3)
    mirrored_N = torch.rand(n, generator=rng) > 0.5
    maps_N23[mirrored_N, 0] *= -1
    return maps_N23
