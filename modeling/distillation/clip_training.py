"""Trains a student in this process on clips in memory; for labelled corpora of a few thousand clips.

For distillation sets see `pipeline.distillation.run`. Shape letters: N clips, T samples at 16 kHz, E = 8 emotions, B windows.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from modeling.distillation.recipes import StudentRecipe
from modeling.distillation.targets import window_of
from modeling.distillation.trainer import EpochMetrics, StudentTrainer
from modeling.sampling import WINDOW_SAMPLES
from modeling.students.build import Student
from modeling.training import TrainingProcess


def train_on_clips(
    recipe: StudentRecipe,
    clips: Sequence[np.ndarray],
    target_logits_NE: np.ndarray,
    *,
    device: torch.device | str = "cpu",
    steps: int | None = None,
    after_epoch: Callable[[EpochMetrics], None] = lambda metrics: None,
) -> Student:
    """Trains the recipe's student on random windows of int16 clips. Returns it in evaluation mode.

    steps: approximate number of optimiser steps, over which the recipe's schedule is stretched; None: the recipe's epochs.
    after_epoch: called with each epoch's metrics. Raises ValueError for fewer than two clips.
    """
    if len(clips) != len(target_logits_NE) or len(clips) < 2:
        raise ValueError(
            f"{len(clips)} clips and {len(target_logits_NE)} targets: give as many targets as clips, at least two"
        )
    steps_per_epoch = recipe.steps_per_epoch(len(clips))
    if steps is not None:
        recipe = replace(recipe, epochs=max(1, round(steps / steps_per_epoch)))
    trainer = StudentTrainer(recipe, TrainingProcess(device=device))
    for epoch in range(recipe.epochs):
        batches = _batches(recipe, clips, np.asarray(target_logits_NE, np.float32), steps_per_epoch, epoch)
        after_epoch(trainer.run_epoch(batches, epoch))
    return trainer.student.eval()


def _batches(
    recipe: StudentRecipe, clips: Sequence[np.ndarray], target_NE: np.ndarray, steps: int, epoch: int
) -> Iterator[dict[str, Tensor]]:
    """The batches of an epoch; each epoch has its own order of clips and its own windows."""
    rng = np.random.default_rng((recipe.seed, epoch))
    size = min(recipe.batch_size, max(2, len(clips) * recipe.windows_per_utterance))
    order = np.concatenate([rng.permutation(len(clips)) for _ in range(-(-steps * size // len(clips)))])
    for step in range(steps):
        rows = order[step * size : (step + 1) * size]
        starts = [int(rng.integers(max(0, len(clips[row]) - WINDOW_SAMPLES) + 1)) for row in rows]
        speech_BT = np.stack(
            [window_of(clips[row], start, recipe.padding) for row, start in zip(rows, starts, strict=True)]
        )
        yield {"speech": torch.from_numpy(speech_BT), "target": torch.from_numpy(target_NE[rows])}
