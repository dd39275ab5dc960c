"""The student's training loop over any iterable of batches, in plain torch; one process of possibly several.

Shape letters: B windows, F bins, L frames, E = 8 emotions.
"""

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from modeling.distillation.loss import distillation_loss
from modeling.distillation.recipes import StudentRecipe
from modeling.precision import autocast
from modeling.students.build import Student, build_student
from modeling.training import ALONE, Ema, TrainingProcess, guarded_step, seeded, set_learning_rate

MASKED_SHARE = 0.2
MASKS = 2  # per direction; together they hide at most MASKED_SHARE


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """epoch, step: number done so far; loss: mean over all processes; lr: in this epoch; windows: seen by this process;
    data_wait_s, compute_s: seconds spent waiting for batches and computing."""

    epoch: int
    step: int
    loss: float
    lr: float
    windows: int
    data_wait_s: float
    compute_s: float


def spec_augment(spectrogram_BFL: Tensor) -> Tensor:
    """Sets random runs of bins and of frames to zero, the mean of a normalised spectrogram (SpecAugment).

    Each clip gets two runs in each direction, each up to a tenth of its size, from torch's global generator.
    """
    hidden = torch.zeros_like(spectrogram_BFL, dtype=torch.bool)
    clips, device = len(spectrogram_BFL), spectrogram_BFL.device
    for axis in (1, 2):
        size = spectrogram_BFL.shape[axis]
        place = torch.arange(size, device=device)
        for _ in range(MASKS):
            length = torch.rand(clips, 1, device=device) * (MASKED_SHARE / MASKS * size)
            first = torch.rand(clips, 1, device=device) * (size - length)
            run = (place >= first) & (place < first + length)
            hidden |= run.unsqueeze(3 - axis)
    return spectrogram_BFL.masked_fill(hidden, 0)


def training_precision(recipe: StudentRecipe, device: torch.device) -> str:
    """ "bf16" if the recipe allows it and the GPU supports it in hardware, else "fp32"; see `modeling.precision`."""
    has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if recipe.autocast and has_bf16 else "fp32"


class TrainingModule(nn.Module):
    """Waveforms to logits, with augmentation in training; this is the module that a data-parallel wrapper wraps.

    precision: of the network only. The spectrogram stays in float32, because bfloat16 would round its levels by 0.4 %.
    """

    def __init__(self, student: Student, augmented: bool, precision: str):
        super().__init__()
        self.student = student
        self.augmented = augmented
        self.precision = precision

    def forward(self, speech_BT: Tensor) -> Tensor:
        spectrogram_BFL = self.student.spectrogram(speech_BT)
        if self.augmented and self.training and spectrogram_BFL.shape[1] > 1:  # an ssl student's is a waveform
            spectrogram_BFL = spec_augment(spectrogram_BFL)
        with autocast(speech_BT.device, self.precision):
            return self.student.outputs(spectrogram_BFL)[0]


class StudentTrainer:
    """Trains a student. `state()` saves everything, so that a resumed run equals an uninterrupted one.

    Every process must get the same number of batches. weight: this process's windows per batch, as a multiple of the mean
    over the processes; with it, unequal shares still give the gradient of the whole batch. front_end: of an ssl student, as
    for `build_student`; its frozen weights are neither trained nor part of the state. Random numbers depend only on
    (seed, epoch). If the recipe allows it (`autocast`), the network runs in bfloat16 on a GPU that has it; spectrogram,
    loss, gradients and weights are float32.
    """

    def __init__(
        self,
        recipe: StudentRecipe,
        process: TrainingProcess = ALONE,
        *,
        weight: float = 1.0,
        front_end: bytes | None = None,
    ):
        self.recipe, self.process, self.weight = recipe, process, weight
        self.device = torch.device(process.device)
        with self._seeded(0):
            self.network = build_student(recipe.student, front_end).to(self.device)
        self.frozen = {name for name, p in self.network.named_parameters() if not p.requires_grad}
        self.ema = None if recipe.ema_decay is None else Ema(self.network, recipe.ema_decay, first_step=1)
        precision = training_precision(recipe, self.device)
        self.wrapped = process.wrap(TrainingModule(self.network, recipe.spec_augment, precision))
        self.optimizer = self._optimizer()
        self.epoch = 0  # epochs done
        self.step = 0  # optimiser steps done

    @property
    def student(self) -> Student:
        """The student to evaluate and to save: the moving average if the recipe keeps one."""
        return self.network if self.ema is None else cast(Student, self.ema.module)

    def state(self) -> dict[str, Any]:
        """What `load_state` needs, at the end of an epoch. The tensors are not copies: save them before the next epoch."""
        return {
            "network": self._trainable_state(self.network),
            "ema": None if self.ema is None else self._trainable_state(self.student),
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Also reads states of earlier versions, which call the moving average `average`."""
        self.network.load_state_dict(self.network.state_dict() | state["network"])
        self.epoch, self.step = state["epoch"], state["step"]
        if self.ema is not None:
            self.ema.restore(state["ema"] if "ema" in state else state["average"], updates=self.step)
        self.optimizer.load_state_dict(state["optimizer"])

    def run_epoch(self, batches: Iterable[Mapping[str, Tensor]], epoch: int) -> EpochMetrics:
        """Trains on batches of `speech` int16 (B, 64384) and `target` float32 (B, E), raw teacher logits of the window.

        epoch counts from 0. If the loss or gradient is not finite, every process raises FloatingPointError before the
        weights change.
        """
        lr = self.recipe.learning_rate(epoch)
        set_learning_rate(self.optimizer, lr)
        self.wrapped.train()
        losses: list[float] = []
        windows, data_wait_s, began = 0, 0.0, time.perf_counter()
        source = iter(batches)
        with self._seeded(epoch + 1):
            while True:
                asked = time.perf_counter()
                batch = next(source, None)
                data_wait_s += time.perf_counter() - asked
                if batch is None:
                    break
                losses.append(self._train_on(batch))
                windows += len(batch["speech"])
        if not losses:
            raise ValueError(
                f"epoch {epoch} got no batch; there is less training data than one batch of {self.recipe.batch_size}"
            )
        self.epoch = epoch + 1
        loss = self.process.mean(sum(losses) / len(losses))
        return EpochMetrics(
            epoch=self.epoch,
            step=self.step,
            loss=loss,
            lr=lr,
            windows=windows,
            data_wait_s=data_wait_s,
            compute_s=time.perf_counter() - began - data_wait_s,
        )

    def _seeded(self, stage: int) -> contextlib.AbstractContextManager[None]:
        return seeded(self.device, self.recipe.seed * 100_003 + stage)

    def _train_on(self, batch: Mapping[str, Tensor]) -> float:
        speech_BT = batch["speech"].to(self.device, non_blocking=True)
        target_BE = batch["target"].to(self.device, non_blocking=True)
        loss = self.weight * distillation_loss(self.wrapped(speech_BT), target_BE, self.recipe.temperature)
        value = guarded_step(
            loss,
            self.network,
            self.optimizer,
            step=self.step,
            remedy=f"look for targets that are not finite, or lower lr_start ({self.recipe.lr_start})",
            grad_clip=self.recipe.grad_clip,
        )
        self.step += 1
        if self.ema is not None:
            self.ema.update_parameters(self.network)
        return value

    def _trainable_state(self, student: Student) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in student.state_dict().items() if name not in self.frozen}

    def _optimizer(self) -> torch.optim.Optimizer:
        recipe, parameters = self.recipe, [p for p in self.network.parameters() if p.requires_grad]
        if recipe.optimiser == "sgd":
            return torch.optim.SGD(
                parameters, lr=recipe.lr_start, momentum=recipe.momentum, weight_decay=recipe.weight_decay
            )
        matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim == 1]
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=recipe.lr_start, fused=True)  # five times as fast as the default on a CPU
