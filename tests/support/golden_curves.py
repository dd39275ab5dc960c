"""Ten losses of each shipped recipe, small enough for a test: its own network, optimiser, loss, augmentation and schedule.

Fewer faces and windows, batches smaller by a fixed factor, and for `ssl` a narrower front end with random weights (the
published one is a file of its own). The ten steps are spread over the whole schedule. A file of tests/golden/ holds the
recipe, as one line of JSON, and the ten losses. Where a recipe is changed on purpose, write the files again:

    python -m tests.support.golden_curves [NAME ...]
"""

import dataclasses
import json
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from modeling.distillation.recipes import STUDENT_RECIPES, StudentRecipe
from modeling.distillation.targets import pool_logits, window_of, window_span
from modeling.distillation.trainer import StudentTrainer
from modeling.faces.ferplus import SIDE_PX, FaceSet
from modeling.speech.ssl_front_end import FRONT_ENDS
from modeling.teacher_training import fine_tuning
from modeling.teacher_training.recipes import TEACHER_RECIPES, TeacherRecipe, paper
from modeling.teacher_training.trainer import TeacherTrainer
from tests.support.small_front_ends import SMALL, file_of, published

GOLDEN = Path(__file__).parents[1] / "golden"
LINES = 10
FRONT_END = "SMALL_WAVLM"
BATCH_IS_SMALLER_BY = {
    "student-compact": 8,
    "student-ssl": 8,
    "student-smoke": 1,
    "student-paper": 32,
    "teacher-compact": 16,
    "teacher-second_round": 16,
    "teacher-smoke": 2,
    "teacher-pretrained": 8,
    "teacher-paper": 64,
    "teacher-paper-resnet50": 64,
}


def recipes() -> dict[str, StudentRecipe | TeacherRecipe]:
    """Name of a file in tests/golden/ -> the recipe as it is shipped."""
    students = {f"student-{name}": recipe() for name, recipe in STUDENT_RECIPES.items()}
    teachers = {f"teacher-{name}": recipe() for name, recipe in TEACHER_RECIPES.items()}
    return students | teachers | {"teacher-paper-resnet50": paper("resnet50_ferplus")}


def curve(name: str) -> list[float]:
    """The losses before ten optimiser steps, at epochs spread over the recipe's schedule."""
    recipe = recipes()[name]
    epochs = [round(epoch) for epoch in np.linspace(0, recipe.epochs - 1, LINES)]
    smaller = dataclasses.replace(recipe, batch_size=recipe.batch_size // BATCH_IS_SMALLER_BY[name])
    return _student_losses(smaller, epochs) if isinstance(recipe, StudentRecipe) else _teacher_losses(smaller, epochs)


def as_json(recipe: StudentRecipe | TeacherRecipe) -> dict:
    """All fields, as a file of a training has them."""
    return json.loads(json.dumps(recipe.as_written()))


def read(name: str) -> tuple[dict, list[float]]:
    first, *losses = (GOLDEN / f"{name}.txt").read_text().splitlines()
    return json.loads(first), [float(loss) for loss in losses]


def write(name: str) -> None:
    lines = [json.dumps(as_json(recipes()[name])), *(f"{loss:.6f}" for loss in curve(name))]
    (GOLDEN / f"{name}.txt").write_text("\n".join(lines) + "\n")


def _student_losses(recipe: StudentRecipe, epochs: list[int]) -> list[float]:
    """One batch, of speech shorter and longer than a window, at each of the epochs."""
    if recipe.student.kind != "ssl":
        trainer = StudentTrainer(recipe)
    else:
        with mock.patch.dict(FRONT_ENDS, SMALL):
            narrower = dataclasses.replace(recipe, student=dataclasses.replace(recipe.student, bundle=FRONT_END))
            trainer = StudentTrainer(narrower, front_end=file_of(published(FRONT_END).state_dict()))
    batch = _windows(recipe)
    return [trainer.run_epoch([batch], epoch).loss for epoch in epochs]


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
    """Faces whose emotion shows in their brightness gradient, so that there is something to learn."""
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
