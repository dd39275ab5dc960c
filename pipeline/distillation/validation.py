"""Scores the student during its training on utterances that it does not learn from, the split `val`.

Shape letters: N utterances, E = 8 emotions.
"""

import hashlib

import numpy as np
import pyarrow as pa
import torch

from modeling.distillation.recipes import StudentRecipe
from modeling.emotions import EMOTIONS
from modeling.evaluation.auc import emotion_auc, mean_auc
from modeling.students.build import Student
from modeling.students.prior import calibrated_strength
from pipeline.distillation.batches import LabelIndex
from pipeline.media.flac import decode_flac

LARGEST = 500
"""Most utterances that are scored: those whose ids have the smallest SHA-256, so they are the same in every run."""

CLIP_WINDOWS = 4
"""Cost of scoring a whole clip, in training windows: forward and backward through 4.0 s costs about as much as forward
through 10 s, and clips are scored one by one."""

SCORING_SHARE = 0.2
"""Share of the training time that scoring may take, by this estimate."""


class ValidationSet:
    """Scores a student on whole clips by the paper's measure: one-vs-rest AUC for the teacher's dominant emotion."""

    def __init__(self, index: LabelIndex, prior_E: np.ndarray):
        rows = index.usable("val")
        hashes = [hashlib.sha256(id.encode()).hexdigest() for id in rows["utterance_id"].to_pylist()]
        rows = rows.take(pa.array(np.argsort(hashes)[:LARGEST], pa.int64()))
        self.places = index.places(rows)
        self.prior_E = prior_E
        self.dominant_N = np.array([EMOTIONS.index(emotion) for emotion in rows["emotion"].to_pylist()], int)
        self.speakers_N = np.array(rows["speaker_id"].to_pylist(), str)
        self.speech: list[bytes] | None = None

    def __len__(self) -> int:
        return len(self.places)

    def evaluate_every(self, recipe: StudentRecipe, utterances: int) -> int:
        """Epochs between scorings, so that scoring costs at most `SCORING_SHARE` of the training. The last epoch is always
        scored."""
        windows = recipe.steps_per_epoch(utterances) * recipe.batch_size
        return max(1, -(-round(len(self) * CLIP_WINDOWS / SCORING_SHARE) // windows))

    def score(self, student: Student) -> dict:
        """val_mean_auc, val_auc (emotion -> AUC, None if not estimable) and prior_strength."""
        if not len(self):
            return {"val_mean_auc": None, "val_auc": dict.fromkeys(EMOTIONS), "prior_strength": 1.0}
        speech = self.speech or self.places.read(np.arange(len(self)))["speech_flac"].to_pylist()
        self.speech = speech
        probabilities_NE = np.stack([_probabilities(student, flac) for flac in speech])
        asked = (probabilities_NE, self.dominant_N, self.speakers_N)
        auc = emotion_auc(*asked, resamples=1)  # the intervals are not used
        return {
            "val_mean_auc": mean_auc(*asked, resamples=1).value,
            "val_auc": {emotion: auc[emotion].value for emotion in EMOTIONS},
            "prior_strength": calibrated_strength(probabilities_NE, self.dominant_N, self.prior_E),
        }


def _probabilities(student: Student, flac: bytes) -> np.ndarray:
    device = next(student.parameters()).device
    return student.logits_of_clip(torch.from_numpy(decode_flac(flac)).to(device)).double().softmax(0).cpu().numpy()


NOT_SCORED = {"val_mean_auc": None, "val_auc": dict.fromkeys(EMOTIONS)}
