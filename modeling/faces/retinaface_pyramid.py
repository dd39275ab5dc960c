"""RetinaFace's feature pyramid in two steps: the two coarser levels first, then the finest for frames that need it.

The finest level has four times the cells of the next, takes 30 to 40 % of the small network's time (one thread of an
EPYC) and only finds faces below about 50 pixels, which are not needed in a frame with a large face. The steps and the
results are those of the package's own `RetinaFace.forward` (retinaface-pytorch network.py, net.py).

Shape letters: B frames, C channels, H, W cells or pixels, P priors of all levels.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from retinaface.network import RetinaFace
from torch import Tensor, nn

RawDetections = tuple[Tensor, Tensor, Tensor]
"""(B, P, 4) offsets, (B, P, 2) logits and (B, P, 10) landmarks of the priors of some levels, the finest level first."""


def answers_where_needed(
    network: RetinaFace, frames_BCHW: Tensor, needs_finest: Callable[[RawDetections], Tensor]
) -> RawDetections:
    """The network's outputs. The finest level is computed only for some frames; for the others it reports no face.

    needs_finest: gets the outputs of the coarser levels and returns which frames need the finest, a bool (B,).
    """
    fpn = network.fpn
    level1_BCHW, level2_BCHW, level3_BCHW = network.body(frames_BCHW).values()
    level3_BCHW = fpn.output3(level3_BCHW)
    level2_BCHW = fpn.merge2(_onto(fpn.output2(level2_BCHW), level3_BCHW))
    coarser = _answers(network, [network.ssh2(level2_BCHW), network.ssh3(level3_BCHW)], first_level=1)
    needy_B = needs_finest(coarser)
    finest = _no_face(coarser, priors=2 * level1_BCHW.shape[2] * level1_BCHW.shape[3])
    if needy_B.any():
        level1_BCHW = fpn.merge1(_onto(fpn.output1(level1_BCHW[needy_B]), level2_BCHW[needy_B]))
        answers = _answers(network, [network.ssh1(level1_BCHW)], first_level=0)
        for whole, of_needy in zip(finest, answers, strict=True):
            whole[needy_B] = of_needy
    offsets_BP4, logits_BP2, landmarks_BPK = (torch.cat(levels, dim=1) for levels in zip(finest, coarser, strict=True))
    return offsets_BP4, logits_BP2, landmarks_BPK


def _onto(finer_BCHW: Tensor, coarser_BCHW: Tensor) -> Tensor:
    return finer_BCHW + F.interpolate(coarser_BCHW, size=finer_BCHW.shape[2:], mode="nearest")


def _answers(network: RetinaFace, features: list[Tensor], first_level: int) -> RawDetections:
    def asked(heads: nn.ModuleList) -> Tensor:
        return torch.cat([heads[level](feature) for level, feature in enumerate(features, first_level)], dim=1)

    return asked(network.BboxHead), asked(network.ClassHead), asked(network.LandmarkHead)


def _no_face(like: RawDetections, priors: int) -> RawDetections:
    """Zero offsets and landmarks, and logits whose softmax is exactly (1, 0)."""
    offsets, logits, landmarks = (answer.new_zeros(len(answer), priors, answer.shape[2]) for answer in like)
    logits[..., 1] = -torch.inf
    return offsets, logits, landmarks
