"""Trains a face teacher on FER+ vote distributions, in plain torch; one process of possibly several.

Shape letters: N images, H = W pixels, E = 8 emotions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modeling.faces.ferplus import FaceSet, paper_rule, vote_distributions
from modeling.layers import channels_last
from modeling.teacher_training.networks import new_network, trainable
from modeling.teacher_training.recipes import TeacherRecipe
from modeling.teachers.base import Teacher
from modeling.training import ALONE, Ema, TrainingProcess, guarded_step, seeded, set_learning_rate


@dataclass(frozen=True, kw_only=True)
class TeacherEpochMetrics:
    """epoch: number done so far; loss: mean over all processes; lr: at the last step; valid_accuracy: under the paper's
    cleaning."""

    epoch: int
    loss: float
    lr: float
    valid_accuracy: float


class TeacherTrainer:
    """Trains a teacher. `state()` saves everything, so that a resumed run equals an uninterrupted one.

    The paper's cleaning chooses the rows; targets are vote distributions. Each process takes its share of every batch.
    Random numbers depend only on (seed, epoch, rank).

    init: weights to start from, VGGFace2's for a published network, a teacher of the recipe's kind for the others
    soft_labels_NE: probabilities that other teachers give to all rows of `train`; they become `recipe.soft_share` of the
    targets. compiled: train through torch.compile.
    """

    def __init__(
        self,
        recipe: TeacherRecipe,
        train: FaceSet,
        valid: FaceSet,
        process: TrainingProcess = ALONE,
        *,
        init: bytes | None = None,
        soft_labels_NE: np.ndarray | None = None,
        compiled: bool = False,
    ):
        self.recipe, self.process, self.device = recipe, process, torch.device(process.device)
        kept_N = paper_rule(train.votes_NV)
        train, valid = train.subset(kept_N), valid.subset(paper_rule(valid.votes_NV))
        self.faces_NHW = torch.from_numpy(train.images_NHW)
        self.targets_NE = torch.from_numpy(vote_distributions(train.votes_NV))
        if soft_labels_NE is not None:
            self.targets_NE.lerp_(torch.from_numpy(soft_labels_NE[kept_N]), recipe.soft_share)
        self.valid_NHW = valid.images_NHW
        self.valid_N = vote_distributions(valid.votes_NV).argmax(1)
        self.kind = trainable(recipe)
        network = new_network(recipe, init)
        self.kind.settle(network, self.faces_NHW)
        self.network = channels_last(network.to(self.device))
        self.ema = None if recipe.ema_decay is None else Ema(self.network, recipe.ema_decay, first_step=0)
        self.wrapped = process.wrap(_compiled(self.network) if compiled else self.network)
        self.optimizer = self.kind.optimizer(self.network)
        self.epoch = 0  # epochs done
        self.steps_per_epoch = len(self.faces_NHW) // recipe.batch_size
        if not self.steps_per_epoch or not len(valid):
            raise ValueError(
                f"the paper's cleaning keeps {len(train)} training and {len(valid)} validation faces; at least a batch of "
                f"{recipe.batch_size} and one are needed"
            )

    @property
    def trained(self) -> nn.Module:
        """The network to evaluate and to save: the moving average where the recipe keeps one."""
        return self.network if self.ema is None else self.ema.module

    def state(self) -> dict[str, Any]:
        """What `load_state` needs, at the end of an epoch. The tensors are not copies: save them before the next epoch."""
        return {
            "network": self.network.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Also reads states of earlier versions, which call the moving average `average`."""
        self.network.load_state_dict(state["network"])
        self.epoch = state["epoch"]
        if self.ema is not None:
            averaged = state["ema"] if "ema" in state else state["average"]
            self.ema.restore(averaged, updates=self.epoch * self.steps_per_epoch)
        self.optimizer.load_state_dict(state["optimizer"])

    def run_epoch(self) -> TeacherEpochMetrics:
        """One pass over the training faces. Raises FloatingPointError before the weights change if a loss is not finite."""
        recipe, rank, share = self.recipe, self.process.rank, self.recipe.batch_size // self.process.world_size
        order = torch.randperm(len(self.faces_NHW), generator=torch.Generator().manual_seed(self._seed(0)))
        rng = torch.Generator().manual_seed(self._seed(1 + rank))
        mix = np.random.default_rng(self._seed(1 + rank))
        losses: list[float] = []
        self.wrapped.train()
        with seeded(self.device, self._seed(1 + rank)):  # dropout
            for index in range(self.steps_per_epoch):
                step = self.epoch * self.steps_per_epoch + index
                first = index * recipe.batch_size + rank * share
                losses.append(self._train_on(order[first : first + share], step, rng, mix))
        self.epoch += 1
        return TeacherEpochMetrics(
            epoch=self.epoch,
            loss=self.process.mean(float(np.mean(losses))),
            lr=recipe.learning_rate(self.epoch * self.steps_per_epoch - 1, self.steps_per_epoch),
            valid_accuracy=self.accuracy(),
        )

    def accuracy(self) -> float:
        """Top-1 accuracy on the validation faces under the paper's cleaning."""
        training = self.trained.training
        teacher = Teacher("", b"", self.kind.parts(self.trained), device=self.device)
        hits_N = teacher.faces(self.valid_NHW).argmax(1) == self.valid_N
        self.trained.requires_grad_(True).train(training)
        return float(hits_N.mean())

    def file(self, meta: Mapping[str, Any]) -> bytes:
        """The trained network as `modeling.teachers.load.load_teacher` reads it."""
        return self.kind.file(self.trained, meta)

    def _train_on(self, rows_N: Tensor, step: int, rng: torch.Generator, mix: np.random.Generator) -> float:
        set_learning_rate(self.optimizer, self.recipe.learning_rate(step, self.steps_per_epoch))
        x, targets_NE = self._batch(rows_N, rng, mix)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.kind.half_precision(self.device)):
            logits_NE = self.wrapped(x)
        loss = F.cross_entropy(logits_NE.float(), targets_NE)
        remedy = f"lower peak_lr ({self.recipe.peak_lr})"
        value = guarded_step(loss, self.network, self.optimizer, step=step, remedy=remedy)
        if self.ema is not None:
            self.ema.update_parameters(self.network)
        return value

    def _batch(self, rows_N: Tensor, rng: torch.Generator, mix: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Augmented faces and their vote distributions; with mixup, mixed with those of the batch in reverse order."""
        recipe, faces, targets = self.recipe, self.faces_NHW[rows_N], self.targets_NE[rows_N]
        x = self.kind.augmented(faces, self.epoch, rng)
        if recipe.mixup_alpha:
            share = mix.beta(recipe.mixup_alpha, recipe.mixup_alpha)
            x, targets = share * x + (1 - share) * x.flip(0), share * targets + (1 - share) * targets.flip(0)
        x = x.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return x, targets.to(self.device, non_blocking=True)

    def _seed(self, stream: int) -> int:
        return (self.recipe.seed * 1009 + self.epoch + 1) * 1013 + stream


def _compiled(network: nn.Module) -> nn.Module:
    """Compiled anew for each size of picture: code for all sizes is slower, and a recipe has two."""
    return cast(nn.Module, torch.compile(network, dynamic=False))
