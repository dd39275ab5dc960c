"""Runs teachers on many face pictures in this process. Shape letters: N images, H = W pixels, E = 8 emotions."""

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from cluster.progress import progress
from modeling.teachers.base import Teacher
from modeling.teachers.load import load_teacher
from pipeline.assets.weights import Weights


def face_logits(teacher: Teacher, images_NHW: np.ndarray) -> np.ndarray:
    """Logits (N, E) of grey faces (uint8), with progress on stderr."""
    with progress(len(images_NHW), "teacher", "faces") as bar:
        return teacher.faces(images_NHW, bar.update)


def mean_probabilities(teachers: Sequence[Weights], images_NHW: np.ndarray, device: str) -> np.ndarray | None:
    """Mean softmax of several teachers on grey faces, float32 (N, E); None without teachers."""
    if not teachers:
        return None
    probabilities = []
    for weights in teachers:
        teacher = load_teacher(weights.name, weights.data, weights.description, device=device)
        probabilities.append(softmax(face_logits(teacher, images_NHW), axis=1))
    return np.asarray(np.mean(probabilities, axis=0, dtype=np.float32))
