"""Training on clips in memory, as the ceiling of the probe does."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import softmax

from modeling.distillation.clip_training import train_on_clips
from modeling.distillation.recipes import smoke
from modeling.distillation.targets import hard_logits
from modeling.students.build import StudentConfig

RECIPE = dataclasses.replace(
    smoke(), student=StudentConfig(widths=(8, 8, 16), embedding=16), lr_start=3e-3, spec_augment=False
)


def tones(n: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Clips of two pitches, steady and trembling, that anyone can tell apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 2
    time_s = np.arange(70_000) / 16_000
    loudness = [1 + 0.9 * np.sin(2 * np.pi * (12 if label else 2) * time_s) for label in labels]
    carrier = rng.normal(0, 3000, (n, len(time_s)))
    return [
        (part * noise).clip(-32768, 32767).astype(np.int16) for part, noise in zip(loudness, carrier, strict=True)
    ], labels


def test_hard_logits_are_the_labels_at_any_temperature_in_use():
    targets = softmax(hard_logits(np.array([3, 0])) / 2, axis=1)
    assert targets[0, 3] > 0.999 and targets[1, 0] > 0.999
    with pytest.raises(ValueError, match="8 outputs"):
        hard_logits(np.array([8]))


def test_what_can_be_heard_is_learned_and_the_same_again():
    clips, labels = tones(32)
    told = []
    students = [train_on_clips(RECIPE, clips, hard_logits(labels), steps=60, after_epoch=told.append) for _ in range(2)]
    answers = [
        [int(student.predict(torch.from_numpy(clip), 16_000)[:2].argmax()) for clip in clips] for student in students
    ]
    assert np.mean(answers[0] == labels) > 0.9
    assert answers[0] == answers[1] and not students[0].training
    assert told[-1].step == pytest.approx(60, abs=RECIPE.steps_per_epoch(32)) and told[-1].loss < told[0].loss


def test_clips_and_targets_must_fit():
    clips, labels = tones(4)
    with pytest.raises(ValueError, match="4 clips and 3 targets"):
        train_on_clips(RECIPE, clips, hard_logits(labels[:3]))
