"""Ten losses of each shipped recipe, with its own network, optimiser, loss, augmentation and schedule.

To be quick enough for a test, there are fewer faces and windows, batches are smaller by a fixed factor, and `ssl` has a
narrower front end with random weights (the published one needs a file). The ten steps are spread over the whole schedule. A
recipe in closed form has no steps: its ten losses are the share of the targets' variance that is left after each of ten
speakers. A file in tests/golden/ holds the recipe as one line of JSON, and the ten losses. After changing a recipe on
purpose, write the files again:

    python -m tests.support.golden_curves [NAME ...]
"""

import dataclasses
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from modeling.distillation.recipes import RIDGE_RECIPES, STUDENT_RECIPES, RidgeRecipe, StudentRecipe
from modeling.distillation.ridge import LinearSums
from modeling.distillation.targets import pool_logits, window_of, window_span
from modeling.distillation.trainer import StudentTrainer
from modeling.faces.ferplus import SIDE_PX, FaceSet
from modeling.teacher_training import fine_tuning
from modeling.teacher_training.recipes import TEACHER_RECIPES, TeacherRecipe, paper
from modeling.teacher_training.trainer import TeacherTrainer
from tests.support.small_front_ends import file_of, published, small_bundles_known

GOLDEN = Path(__file__).parents[1] / "golden"
LINES = 10
FRONT_END = "SMALL_WAVLM"
USUALLY_SMALLER_BY = 8
BATCH_IS_SMALLER_BY = {
    "student-smoke": 1,
    "student-paper": 32,
    "teacher-compact": 16,
    "teacher-second_round": 16,
    "teacher-smoke": 2,
    "teacher-pretrained": 8,
    "teacher-paper": 64,
    "teacher-paper-resnet50": 64,
}


def recipes() -> dict[str, StudentRecipe | RidgeRecipe | TeacherRecipe]:
    """Name of a file in tests/golden/ -> the shipped recipe."""
    students = {f"student-{name}": recipe() for name, recipe in (STUDENT_RECIPES | RIDGE_RECIPES).items()}
    teachers = {f"teacher-{name}": recipe() for name, recipe in TEACHER_RECIPES.items()}
    return students | teachers | {"teacher-paper-resnet50": paper("resnet50_ferplus")}


def curve(name: str) -> list[float]:
    """The losses before each of ten optimiser steps, at epochs spread over the recipe's schedule."""
    recipe = recipes()[name]
    if isinstance(recipe, RidgeRecipe):
        return _ridge_losses(recipe)
    epochs = [round(epoch) for epoch in np.linspace(0, recipe.epochs - 1, LINES)]
    smaller = dataclasses.replace(
        recipe, batch_size=recipe.batch_size // BATCH_IS_SMALLER_BY.get(name, USUALLY_SMALLER_BY)
    )
    return _student_losses(smaller, epochs) if isinstance(recipe, StudentRecipe) else _teacher_losses(smaller, epochs)


def as_json(recipe: StudentRecipe | RidgeRecipe | TeacherRecipe) -> dict:
    """All fields, as in a training's files."""
    return json.loads(json.dumps(recipe.as_written()))


def read(name: str) -> tuple[dict, list[float]]:
    first, *losses = (GOLDEN / f"{name}.txt").read_text().splitlines()
    return json.loads(first), [float(loss) for loss in losses]


def write(name: str) -> None:
    lines = [json.dumps(as_json(recipes()[name])), *(f"{loss:.6f}" for loss in curve(name))]
    (GOLDEN / f"{name}.txt").write_text("\n".join(lines) + "\n")


def _student_losses(recipe: StudentRecipe, epochs: list[int]) -> list[float]:
    """The losses of one batch at each of the epochs; its speech is shorter and longer than a window."""
    if recipe.student.kind != "ssl":
        trainer = StudentTrainer(recipe)
    else:
        with small_bundles_known():
            narrower = dataclasses.replace(recipe, student=dataclasses.replace(recipe.student, bundle=FRONT_END))
            trainer = StudentTrainer(narrower, front_end=file_of(published(FRONT_END).state_dict()))
    batch = _windows(recipe)
    return [trainer.run_epoch([batch], epoch).loss for epoch in epochs]


def _ridge_losses(recipe: RidgeRecipe) -> list[float]:
    """Speakers whose features have a mean and a scale of their own, and targets that follow some of the features."""
    rng = np.random.default_rng(0)
    sums, losses, truth_FE = LinearSums(), [], rng.normal(0, 1, (12, 8))
    for speaker in range(LINES):
        features_NF = rng.normal(rng.normal(0, 5, 12), 1 + np.arange(12), (20, 12))
        targets_NE = features_NF @ truth_FE + rng.normal(0, 10, (20, 8))
        sums.add(f"s{speaker}", features_NF, targets_NE)
        losses.append(1 - sums.solve(recipe.penalty).explained)
    return losses


def _windows(recipe: StudentRecipe) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    speech, targets = [], []
    for n in range(recipe.batch_size):
        speech_T = rng.integers(-3000, 3000, (40_000, 80_000)[n % 2]).astype(np.int16)
        frame_logits_NE = rng.uniform(-4, 4, (10, 8)).astype(np.float32)
        speech.append(window_of(speech_T, 0, recipe.padding))
        targets.append(pool_logits(frame_logits_NE, np.arange(10), *window_span(0), recipe.target_pooling))
    return {"speech": torch.from_numpy(np.stack(speech)), "target": torch.from_numpy(np.stack(targets))}


def _teacher_losses(recipe: TeacherRecipe, epochs: list[int]) -> list[float]:
    """In single precision, also where the processor has a half."""
    trainer = TeacherTrainer(recipe, some_faces(recipe.batch_size), some_faces(1))
    losses = []
    with mock.patch.object(fine_tuning, "has_fast_bfloat16", return_value=False):
        for epoch in epochs:
            trainer.load_state(trainer.state() | {"epoch": epoch})
            losses.append(trainer.run_epoch().loss)
    return losses


def some_faces(n: int) -> FaceSet:
    """Faces whose brightness gradient shows the emotion, so that there is something to learn."""
    rng = np.random.default_rng(0)
    emotions_N = rng.integers(0, 8, n)
    votes = np.zeros((n, 10), np.uint8)
    votes[np.arange(n), emotions_N] = 10
    waves = np.sin(np.arange(SIDE_PX) / SIDE_PX * np.pi * (1 + emotions_N[:, None]))[:, :, None]
    images = 128 + 90 * waves + rng.normal(0, 8, (n, SIDE_PX, SIDE_PX))
    return FaceSet(images.clip(0, 255).astype(np.uint8), votes)


if __name__ == "__main__":
    for given in sys.argv[1:] or recipes():
        write(given)
