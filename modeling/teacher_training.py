"""Trains the compact teacher on FER+ vote distributions; plain torch, one process.

Shape letters: N images, H = W pixels, E = 8 emotions.
"""

import copy
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modeling.compact_teacher import CompactTeacher, CompactTeacherConfig, normalise_faces
from modeling.ferplus import SIDE_PX, FaceSet, paper_rule, vote_distributions


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """How the compact teacher is trained.

    small_epochs: epochs at small_side_px before the rest run at 48 px (progressive resizing saves half of their time)
    peak_lr, weight_decay: SGD with Nesterov momentum 0.9; one epoch of warm-up, then cosine to zero
    rotation_deg, zoom, shift: range of the random affine map (degrees; factor; part of the width), plus a flip
    mixup_alpha: Beta parameter of mixup; cutout_part: side of the erased square, part of the width
    ema_decay: per step, of the weights that are evaluated and saved
    """

    network: CompactTeacherConfig = field(default_factory=CompactTeacherConfig)
    epochs: int = 32
    small_epochs: int = 22
    small_side_px: int = 36
    batch_size: int = 128
    peak_lr: float = 0.1
    weight_decay: float = 5e-4
    rotation_deg: float = 15.0
    zoom: float = 1.2
    shift: float = 0.08
    mixup_alpha: float = 0.2
    cutout_part: float = 0.3
    ema_decay: float = 0.998
    seed: int = 0


def augment(faces_NHW: Tensor, recipe: TeacherRecipe, side_px: int, rng: torch.Generator) -> Tensor:
    """uint8 (N, 48, 48) -> float (N, 1, side, side): flip, rotation, zoom, shift, contrast, then cutout."""
    n = len(faces_NHW)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(n, generator=rng) * (high - low) + low

    angle = uniform(-1, 1) * math.radians(recipe.rotation_deg)
    scale = torch.exp(uniform(-1, 1) * math.log(recipe.zoom))
    flip = torch.where(torch.rand(n, generator=rng) < 0.5, -1.0, 1.0)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    row_x = torch.stack([cos * flip, -sin, uniform(-2, 2) * recipe.shift], 1)
    row_y = torch.stack([sin * flip, cos, uniform(-2, 2) * recipe.shift], 1)
    grid = F.affine_grid(torch.stack([row_x, row_y], 1), (n, 1, side_px, side_px), align_corners=False)
    faces = F.grid_sample(faces_NHW.float().unsqueeze(1), grid, padding_mode="border", align_corners=False)
    gamma = torch.exp(uniform(-0.35, 0.35)).view(-1, 1, 1, 1)
    x = normalise_faces(((faces / 255).clamp(0, 1) ** gamma * 255).squeeze(1))
    hole, middle = recipe.cutout_part / 2 * side_px, torch.arange(side_px) + 0.5
    far_x = (middle[None] - uniform(0, side_px)[:, None]).abs() > hole
    far_y = (middle[None] - uniform(0, side_px)[:, None]).abs() > hole
    return x * (far_y[:, None, :, None] | far_x[:, None, None, :])


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up to the peak, then half a cosine to zero."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


@torch.no_grad()
def flipped_logits(network: nn.Module, faces_NHW: Tensor, batch_size: int = 256) -> Tensor:
    """uint8 (N, 48, 48) -> logits (N, E), the mean over the face and its mirror image."""
    network.eval()
    parts = []
    for faces in faces_NHW.split(batch_size):
        x = normalise_faces(faces)
        parts.append((network(x) + network(x.flip(3))) / 2)
    return torch.cat(parts)


class TeacherTrainer:
    """Holds everything that `state()` saves, so that a resumed run equals an uninterrupted one."""

    def __init__(self, recipe: TeacherRecipe, train: FaceSet, valid: FaceSet):
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        train, valid = (faces.subset(paper_rule(faces.votes_NV)) for faces in (train, valid))
        self.faces_NHW = torch.from_numpy(train.images_NHW)
        self.targets_NE = torch.from_numpy(vote_distributions(train.votes_NV))
        self.valid_NHW = torch.from_numpy(valid.images_NHW)
        self.valid_N = torch.from_numpy(vote_distributions(valid.votes_NV).argmax(1))
        self.network = CompactTeacher(recipe.network).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), lr=recipe.peak_lr, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay
        )
        self.epoch = 0
        self.steps_per_epoch = len(self.faces_NHW) // recipe.batch_size

    def state(self) -> dict:
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
        }

    def load_state(self, state: dict) -> None:
        for name in ("network", "average", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.epoch = state["epoch"]

    def run_epoch(self) -> dict:
        """One pass over the training faces. Returns epoch, loss, lr and the validation accuracy of the average."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed + 1000 * (self.epoch + 1))  # dropout
        rng = torch.Generator().manual_seed(recipe.seed + 1000 * (self.epoch + 1))
        mix = np.random.default_rng((recipe.seed, self.epoch))
        side_px = recipe.small_side_px if self.epoch < recipe.small_epochs else SIDE_PX
        order = torch.randperm(len(self.faces_NHW), generator=rng)
        total_loss = 0.0
        self.network.train()
        for index in range(self.steps_per_epoch):
            step = self.epoch * self.steps_per_epoch + index
            lr = learning_rate(step, recipe.epochs * self.steps_per_epoch, self.steps_per_epoch, recipe.peak_lr)
            self.optimizer.param_groups[0]["lr"] = lr
            rows = order[index * recipe.batch_size : (index + 1) * recipe.batch_size]
            x, targets = augment(self.faces_NHW[rows], recipe, side_px, rng), self.targets_NE[rows]
            part = float(mix.beta(recipe.mixup_alpha, recipe.mixup_alpha))
            x, targets = part * x + (1 - part) * x.flip(0), part * targets + (1 - part) * targets.flip(0)
            loss = F.cross_entropy(self.network(x), targets)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss.item()} at step {step}; lower peak_lr ({recipe.peak_lr})")
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            self._update_average(step)
            total_loss += loss.item()
        self.epoch += 1
        return {
            "epoch": self.epoch,
            "loss": total_loss / self.steps_per_epoch,
            "lr": lr,
            "valid_accuracy": self.accuracy(),
        }

    def _update_average(self, step: int) -> None:
        decay = min(self.recipe.ema_decay, (1 + step) / (10 + step))
        for ours, theirs in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if ours.dtype.is_floating_point:
                ours.lerp_(theirs, 1 - decay)

    def accuracy(self) -> float:
        """Top-1 accuracy of the averaged weights on the validation faces under the paper's cleaning."""
        logits = flipped_logits(self.average, self.valid_NHW)
        return (logits.argmax(1) == self.valid_N).float().mean().item()
