"""Trains a face teacher on FER+ vote distributions, in plain torch; one process of possibly several.

Shape letters: N images, H = W pixels, E = 8 emotions.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modeling.faces.ferplus import FaceSet, paper_rule, vote_distributions
from modeling.layers import channels_last
from modeling.teacher_training.augmentation import jittered
from modeling.teacher_training.paper_augmentation import paper_augment
from modeling.teacher_training.recipes import TeacherRecipe
from modeling.teachers.base import Teacher, TeacherNetwork
from modeling.teachers.compact import CompactTeacher, compact_teacher, load_compact_teacher, save_compact_teacher
from modeling.teachers.published import (
    PUBLISHED,
    FerPlusNetwork,
    initialised_from,
    published_parts,
)
from modeling.training import ALONE, Ema, TrainingProcess, guarded_step, seeded, set_learning_rate

TEACHER_FILES = {"compact": "teacher.safetensors"} | dict.fromkeys(PUBLISHED, "teacher.pth")
"""Network -> name of its file: safetensors for our own, the published form for the others."""


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

    init: weights to start from, VGGFace2's for a published network, a compact teacher's for the compact one
    soft_labels_NE: other teachers' probabilities for all rows of `train`, which make up `recipe.soft_share` of the targets
    compiled: train through torch.compile
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
        self.network = channels_last(new_network(recipe, init).to(self.device))
        self.ema = None if recipe.ema_decay is None else Ema(self.network, recipe.ema_decay, first_step=0)
        self.wrapped = process.wrap(cast(nn.Module, torch.compile(self.network)) if compiled else self.network)
        self.optimizer = self._optimizer()
        self.epoch = 0  # epochs done
        self.steps_per_epoch = len(self.faces_NHW) // recipe.batch_size
        if not self.steps_per_epoch or not len(valid):
            raise ValueError(
                f"the paper's cleaning keeps {len(train)} training and {len(valid)} validation faces; at least a batch of "
                f"{recipe.batch_size} and one are needed"
            )

    @property
    def trained(self) -> CompactTeacher | FerPlusNetwork:
        """The network to evaluate and to save: the moving average if the recipe keeps one."""
        return self.network if self.ema is None else cast(CompactTeacher | FerPlusNetwork, self.ema.module)

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
        hits_N = Teacher("", b"", self._parts(), device=self.device).faces(self.valid_NHW).argmax(1) == self.valid_N
        self.trained.requires_grad_(True).train(training)
        return float(hits_N.mean())

    def file(self, meta: Mapping[str, Any]) -> bytes:
        """The trained network as a file for `modeling.teachers.load.load_teacher`."""
        if isinstance(self.trained, CompactTeacher):
            return save_compact_teacher(self.trained, meta)
        buffer = io.BytesIO()
        torch.save({name: tensor.cpu() for name, tensor in self.trained.state_dict().items()}, buffer)
        return buffer.getvalue()

    def _train_on(self, rows_N: Tensor, step: int, rng: torch.Generator, mix: np.random.Generator) -> float:
        set_learning_rate(self.optimizer, self.recipe.learning_rate(step, self.steps_per_epoch))
        x, targets_NE = self._batch(rows_N, rng, mix)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
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
        if recipe.network == "compact":
            x = jittered(faces, recipe.jitter, recipe.side_px(self.epoch), rng)
        else:
            x = paper_augment(faces, rng)
        if recipe.mixup_alpha:
            share = mix.beta(recipe.mixup_alpha, recipe.mixup_alpha)
            x, targets = share * x + (1 - share) * x.flip(0), share * targets + (1 - share) * targets.flip(0)
        x = x.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return x, targets.to(self.device, non_blocking=True)

    def _optimizer(self) -> torch.optim.Optimizer:
        classifier = list(self.network.classifier.parameters())
        body = [p for name, p in self.network.named_parameters() if not name.startswith("classifier.")]
        groups = [{"params": body, "factor": self.recipe.body_lr_factor}, {"params": classifier, "factor": 1.0}]
        nesterov = self.recipe.network == "compact"
        return torch.optim.SGD(
            groups, lr=self.recipe.peak_lr, momentum=0.9, nesterov=nesterov, weight_decay=self.recipe.weight_decay
        )

    def _parts(self) -> TeacherNetwork:
        trained = self.trained
        return compact_teacher(trained) if isinstance(trained, CompactTeacher) else published_parts(trained)

    def _seed(self, stream: int) -> int:
        return (self.recipe.seed * 1009 + self.epoch + 1) * 1013 + stream


def new_network(recipe: TeacherRecipe, init: bytes | None) -> CompactTeacher | FerPlusNetwork:
    """The network before its first step; random weights depend only on the seed.

    Raises ValueError if `init` does not hold the weights of the recipe's network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if recipe.network == "compact":
            return CompactTeacher(recipe.compact) if init is None else _warm_start(recipe, init)
        gated = PUBLISHED[recipe.network].gated
        if init is not None:
            return initialised_from(init, gated, recipe.seed, recipe.dropout)
        return FerPlusNetwork(gated, dropout=recipe.dropout)


def _warm_start(recipe: TeacherRecipe, init: bytes) -> CompactTeacher:
    network = load_compact_teacher(init)
    if network.config != recipe.compact:
        raise ValueError(f"it holds a network of {network.config}, the recipe asks for {recipe.compact}")
    return network
