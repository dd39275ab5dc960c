"""What an export says of an utterance, from its row of the set."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modeling.emotions import EMOTIONS
from modeling.evaluation.divergence import teacher_probabilities

COLUMNS = ["utterance_id", "speaker_id", "video_id", "start_s", "end_s", "split", "logits"]
"""Columns of the set that each form needs."""
SOUND_COLUMNS = [
    *COLUMNS,
    *("frame_indices", "frame_logits", "face_is_ambiguous", "teacher", "speech_flac", "speech_samples"),
]
"""Those of the forms with sound. Where files were is left out: it says something about the machine, and nothing to others."""


def emotions_of(rows: pa.Table) -> list[int]:
    """Index in EMOTIONS of each row's dominant emotion."""
    return _logits(rows).argmax(1).tolist()


def probabilities_of(rows: pa.Table, temperature: float) -> np.ndarray:
    """(n, 8) float32; 0 for an emotion that the teacher does not know."""
    return teacher_probabilities(_logits(rows), temperature).astype(np.float32)


def _logits(rows: pa.Table) -> np.ndarray:
    return pc.list_flatten(rows["logits"]).to_numpy().reshape(-1, len(EMOTIONS))
