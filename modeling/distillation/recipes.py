"""How a student is trained: the recipe as a frozen dataclass, its learning rate, and the named recipes."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from modeling.distillation.targets import PADDINGS, POOLINGS
from modeling.students.configs import StudentConfig, WhisperConfig

PAPER_TEMPERATURE = 2.0  # hard-coded in mcnCrossModalEmotions emoVoxZoo.m

FIRST_NAMES = {"fraction_per_epoch": "part_per_epoch"}
"""Fields of a recipe that have another name in files."""


@dataclass(frozen=True, kw_only=True)
class StudentRecipe:
    """Everything besides the data that determines the trained weights.

    optimiser: "sgd" or "adamw"; lr_start to lr_end: for sgd log-spaced over the epochs; for adamw peak and end of half a
    cosine, after a linear rise over warmup_epochs (constant within an epoch, so independent of the number of batches)
    fraction_per_epoch: share of the training utterances that one epoch visits (the paper's "mini-epoch")
    windows_per_utterance: windows drawn from an utterance at each visit
    target_pooling: "max", "mean" or "attention" of the teacher's frame logits in a window (`targets.pool_logits`)
    padding: how an utterance shorter than a window is filled, "zeros" or "repeat" (`targets.window_of`)
    batch_size: of all workers together
    grad_clip: largest norm of the gradient, or None
    ema_decay: decay per step of the moving average of the weights, which is saved; None: no average
    autocast: bfloat16 products on a GPU that has them; a CPU computes in float32
    spec_augment: masks that hide up to a fifth of the bands and of the frames of each training window
    """

    student: StudentConfig = field(default_factory=StudentConfig)
    optimiser: str = "adamw"
    epochs: int = 30
    fraction_per_epoch: float = 1.0
    windows_per_utterance: int = 1
    target_pooling: str = "max"
    padding: str = "zeros"
    batch_size: int = 64
    lr_start: float = 1e-3
    lr_end: float = 1e-5
    warmup_epochs: int = 1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    temperature: float = PAPER_TEMPERATURE
    grad_clip: float | None = None
    ema_decay: float | None = None
    spec_augment: bool = False
    autocast: bool = True
    seed: int = 0

    def __post_init__(self):
        if self.optimiser not in ("sgd", "adamw"):
            raise ValueError(f"optimiser = {self.optimiser!r}: choose 'sgd' or 'adamw'")
        if self.target_pooling not in POOLINGS:
            raise ValueError(f"target_pooling = {self.target_pooling!r}: choose one of {', '.join(POOLINGS)}")
        if self.spec_augment and self.student.kind == "ssl":
            raise ValueError(
                "spec_augment hides bands of a spectrogram, which an ssl student does not have; leave it off"
            )
        if self.padding not in PADDINGS:
            raise ValueError(f"padding = {self.padding!r}: choose one of {', '.join(PADDINGS)}")
        for name in (
            "epochs",
            "windows_per_utterance",
            "batch_size",
            "fraction_per_epoch",
            "lr_start",
            "lr_end",
            "temperature",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} = {getattr(self, name)}: it must be above 0")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay = {self.ema_decay}: it must be between 0 and 1, or None")

    def as_written(self) -> dict[str, Any]:
        """For a training's identity and its student's file. They keep the first name of `fraction_per_epoch`, so that
        trainings begun by earlier versions can continue."""
        return {FIRST_NAMES.get(name, name): value for name, value in asdict(self).items()}

    def learning_rate(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0."""
        if self.optimiser == "sgd":
            return self.lr_start * (self.lr_end / self.lr_start) ** (epoch / max(1, self.epochs - 1))
        if epoch < self.warmup_epochs:
            return self.lr_start * (epoch + 1) / (self.warmup_epochs + 1)
        done = (epoch - self.warmup_epochs) / max(1, self.epochs - 1 - self.warmup_epochs)
        return self.lr_end + (self.lr_start - self.lr_end) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def steps_per_epoch(self, utterances: int) -> int:
        """Optimiser steps in one epoch over this many training utterances (the paper: 118,485 give 93)."""
        return max(1, round(utterances * self.fraction_per_epoch * self.windows_per_utterance / self.batch_size))


def paper() -> StudentRecipe:
    """The authors' recipe (the code of mcnCrossModalEmotions run_distillation.m, which differs from its docstring)."""
    return StudentRecipe(
        student=StudentConfig(kind="paper"),
        optimiser="sgd",
        epochs=300,
        fraction_per_epoch=0.05,
        lr_start=1e-4,
        lr_end=1e-5,
        autocast=False,
    )


def compact() -> StudentRecipe:
    """The compact student on a CPU or one small GPU, chosen on the transfer benchmark (docs/log.md)."""
    return StudentRecipe(
        epochs=45,
        batch_size=32,
        target_pooling="mean",
        padding="repeat",
        warmup_epochs=2,
        weight_decay=0.02,
        grad_clip=5.0,
        ema_decay=0.998,
        spec_augment=True,
    )


def ssl(bundle: str = "WAVLM_BASE_PLUS") -> StudentRecipe:
    """A head on a frozen self-supervised network, with weights from a file. Training it on a CPU would take too long."""
    return StudentRecipe(
        student=StudentConfig(kind="ssl", bundle=bundle),
        epochs=20,
        target_pooling="mean",
        padding="repeat",
        weight_decay=0.01,
        grad_clip=5.0,
        ema_decay=0.998,
    )


def smoke() -> StudentRecipe:
    """Two epochs of a tiny student: shows that everything works together, but learns little."""
    return StudentRecipe(
        student=StudentConfig(widths=(8, 16, 16), embedding=32),
        epochs=2,
        batch_size=8,
        windows_per_utterance=2,
        ema_decay=0.9,
        spec_augment=True,
    )


STUDENT_RECIPES = {"paper": paper, "compact": compact, "ssl": ssl, "smoke": smoke}

RECIPES_WITHOUT_FRONT_END = tuple(name for name, recipe in STUDENT_RECIPES.items() if recipe().student.kind != "ssl")
"""Recipes that need no file of a frozen network."""


@dataclass(frozen=True, kw_only=True)
class RidgeRecipe:
    """Everything that decides the weights of a linear student in closed form (`modeling.distillation.ridge`), data aside.

    penalty: on squared weights, of features scaled to deviation 1 within speakers; target_pooling: as for `StudentRecipe`,
    of the frames in each of the student's windows.
    """

    student: WhisperConfig = field(default_factory=WhisperConfig)
    penalty: float = 1.0
    target_pooling: str = "mean"

    def __post_init__(self):
        if not 0 < self.penalty < math.inf:
            raise ValueError(f"penalty = {self.penalty}: it must be above 0")
        if self.target_pooling not in POOLINGS:
            raise ValueError(f"target_pooling = {self.target_pooling!r}: choose one of {', '.join(POOLINGS)}")

    def as_written(self) -> dict[str, Any]:
        """For the identity of a training and the file of its student."""
        return asdict(self)


def whisper() -> RidgeRecipe:
    """A linear head on two layers of Whisper's smallest English encoder, chosen by the teacher's answers for held-out
    speakers (docs/log.md)."""
    return RidgeRecipe()


RIDGE_RECIPES = {"whisper": whisper}
