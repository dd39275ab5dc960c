"""Trains a face teacher on FER+ vote distributions; plain torch, one process of possibly several.

Shape letters: N images, H = W pixels, E = 8 emotions.
"""

import copy
import io
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modeling.faces.ferplus import FaceSet, paper_rule, vote_distributions
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
from modeling.training import mean_over_processes

TEACHER_FILES = {"compact": "teacher.safetensors"} | dict.fromkeys(PUBLISHED, "teacher.pth")
"""The name of a network's file: safetensors of ours, the published form of the others."""


class TeacherTrainer:
    """Holds everything that `state()` saves, so that a resumed run equals an uninterrupted one.

    Rows are kept by the paper's cleaning, targets are vote distributions. wrap: puts data parallelism around the network
    (for example ray.train.torch.prepare_model); each of world_size processes takes its share of every batch. Random
    numbers are drawn from (seed, epoch, rank) alone.

    init: weights to start from, VGGFace2's for a published network, a compact teacher's for the compact one
    soft_labels_NE: probabilities that other teachers give to all rows of `train`; they become `recipe.soft_part` of the
    targets. compiled: train through torch.compile.
    """

    def __init__(
        self,
        recipe: TeacherRecipe,
        train: FaceSet,
        valid: FaceSet,
        init: bytes | None = None,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world_size: int = 1,
        wrap: Callable[[nn.Module], nn.Module] = lambda module: module,
        compiled: bool = False,
        soft_labels_NE: np.ndarray | None = None,
    ):
        self.recipe, self.device, self.rank, self.world_size = recipe, torch.device(device), rank, world_size
        kept_N = paper_rule(train.votes_NV)
        train, valid = train.subset(kept_N), valid.subset(paper_rule(valid.votes_NV))
        self.faces_NHW = torch.from_numpy(train.images_NHW)
        self.targets_NE = torch.from_numpy(vote_distributions(train.votes_NV))
        if soft_labels_NE is not None:
            self.targets_NE.lerp_(torch.from_numpy(soft_labels_NE[kept_N]), recipe.soft_part)
        self.valid_NHW = valid.images_NHW
        self.valid_N = vote_distributions(valid.votes_NV).argmax(1)
        self.network = new_network(recipe, init).to(self.device, memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network) if recipe.ema_decay else None
        self.wrapped = wrap(torch.compile(self.network) if compiled else self.network)
        self.optimizer = self._optimizer()
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
        return self.average or self.network

    def state(self) -> dict:
        """What `load_state` needs, at the end of an epoch; the tensors are live, so save it before the next one."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
        }

    def load_state(self, state: dict) -> None:
        self.network.load_state_dict(state["network"])
        if self.average:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]

    def run_epoch(self) -> dict:
        """One pass over the training faces. Returns epoch, loss, lr and validation accuracy (the paper's cleaning).

        A loss that is not finite raises FloatingPointError before the weights move.
        """
        recipe, share = self.recipe, self.recipe.batch_size // self.world_size
        order = torch.randperm(len(self.faces_NHW), generator=torch.Generator().manual_seed(self._seed(0)))
        rng = torch.Generator().manual_seed(self._seed(1 + self.rank))
        mix = np.random.default_rng(self._seed(1 + self.rank))
        losses = []
        self.wrapped.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(self._seed(1 + self.rank))  # dropout
            for index in range(self.steps_per_epoch):
                step = self.epoch * self.steps_per_epoch + index
                first = index * recipe.batch_size + self.rank * share
                losses.append(self._train_on(order[first : first + share], step, rng, mix))
        self.epoch += 1
        metrics = {
            "epoch": self.epoch,
            "loss": mean_over_processes(float(np.mean(losses)), self.world_size, self.device),
        }
        lr = recipe.learning_rate(self.epoch * self.steps_per_epoch - 1, self.steps_per_epoch)
        return metrics | {"lr": lr, "valid_accuracy": self.accuracy()}

    def accuracy(self) -> float:
        """Top-1 accuracy on the validation faces under the paper's cleaning."""
        training = self.trained.training
        hits_N = Teacher("", b"", self._parts(), str(self.device)).faces(self.valid_NHW).argmax(1) == self.valid_N
        self.trained.requires_grad_(True).train(training)
        return float(hits_N.mean())

    def file(self, meta: dict) -> bytes:
        """The trained network as `modeling.teachers.load.load_teacher` reads it."""
        if isinstance(self.trained, CompactTeacher):
            return save_compact_teacher(self.trained, meta)
        buffer = io.BytesIO()
        torch.save({name: tensor.cpu() for name, tensor in self.trained.state_dict().items()}, buffer)
        return buffer.getvalue()

    def _train_on(self, rows_N: Tensor, step: int, rng: torch.Generator, mix: np.random.Generator) -> float:
        lr = self.recipe.learning_rate(step, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        x, targets_NE = self._batch(rows_N, rng, mix)
        with torch.autocast("cuda", torch.bfloat16, enabled=self.device.type == "cuda"):
            logits_NE = self.wrapped(x)
        loss = F.cross_entropy(logits_NE.float(), targets_NE)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        value = loss.item()
        # The sum of the averaged gradients: where one process fails, all see it, and none waits for the others.
        if not torch.isfinite(sum(p.grad.sum() for p in self.network.parameters())):
            raise FloatingPointError(
                f"loss {value} or its gradient is not finite at step {step}; lower peak_lr ({self.recipe.peak_lr}); the last "
                "checkpoint is good"
            )
        self.optimizer.step()
        self._update_average(step)
        return value

    def _batch(self, rows_N: Tensor, rng: torch.Generator, mix: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Augmented faces and vote distributions, mixed with those of the batch in reverse where the recipe says so."""
        recipe, faces, targets = self.recipe, self.faces_NHW[rows_N], self.targets_NE[rows_N]
        if recipe.network == "compact":
            x = jittered(faces, recipe.jitter, recipe.side_px(self.epoch), rng)
        else:
            x = paper_augment(faces, rng)
        if recipe.mixup_alpha:
            part = mix.beta(recipe.mixup_alpha, recipe.mixup_alpha)
            x, targets = part * x + (1 - part) * x.flip(0), part * targets + (1 - part) * targets.flip(0)
        x = x.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return x, targets.to(self.device, non_blocking=True)

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        if not self.average:
            return
        decay = min(self.recipe.ema_decay, (1 + step) / (10 + step))
        for ours, theirs in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if ours.dtype.is_floating_point:
                ours.lerp_(theirs, 1 - decay)

    def _optimizer(self) -> torch.optim.Optimizer:
        classifier = list(self.network.classifier.parameters())
        body = [p for name, p in self.network.named_parameters() if not name.startswith("classifier.")]
        groups = [{"params": body, "factor": self.recipe.body_lr_factor}, {"params": classifier, "factor": 1.0}]
        nesterov = self.recipe.network == "compact"
        return torch.optim.SGD(
            groups, lr=self.recipe.peak_lr, momentum=0.9, nesterov=nesterov, weight_decay=self.recipe.weight_decay
        )

    def _parts(self) -> TeacherNetwork:
        return compact_teacher(self.trained) if self.recipe.network == "compact" else published_parts(self.trained)

    def _seed(self, stream: int) -> int:
        return (self.recipe.seed * 1009 + self.epoch + 1) * 1013 + stream


def new_network(recipe: TeacherRecipe, init: bytes | None) -> nn.Module:
    """The network before its first step; weights that are drawn depend on the seed alone.

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
