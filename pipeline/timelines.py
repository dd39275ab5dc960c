"""The student's answer as it moves through an utterance: short windows, one after another."""

import numpy as np
import torch

from modeling.student import Student
from pipeline.speech import SAMPLE_RATE_HZ

WINDOW_S = 2.0
HOP_S = 0.5


def student_timeline(student: Student, speech_T: np.ndarray) -> dict:
    """int16 speech at 16 kHz -> {"times_s": middle of each window, "probabilities": n x 8}; windows of 2 s, every 0.5 s."""
    window, hop = int(WINDOW_S * SAMPLE_RATE_HZ), int(HOP_S * SAMPLE_RATE_HZ)
    starts = range(0, max(1, len(speech_T) - window + 1), hop)
    pieces = [torch.from_numpy(speech_T[start : start + window]) for start in starts]
    return {
        "times_s": [(start + len(piece) / 2) / SAMPLE_RATE_HZ for start, piece in zip(starts, pieces, strict=True)],
        "probabilities": [student.logits_of_clip(piece).softmax(0).tolist() for piece in pieces],
    }
