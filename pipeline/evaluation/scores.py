"""The table of scores: the students' and the teacher's answers, which are all that an evaluation needs.

Shape letters: N utterances, E = 8 emotions.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.failures import UserError
from modeling.emotions import EMOTIONS
from pipeline.schema import SPLITS

LABEL_COLUMNS = ["utterance_id", "speaker_id", "split", "emotion", "teacher", "logits"]
EIGHT = pa.list_(pa.float32(), len(EMOTIONS))
SCORE_SCHEMA = pa.schema(
    [
        pa.field("student", pa.string()),
        *(pa.field(name, pa.string()) for name in LABEL_COLUMNS[:-1]),
        pa.field("logits", EIGHT),  # the teacher's, aggregated over frames; -100 for emotions it does not know
        pa.field("probabilities", EIGHT),  # the student's
        pa.field("corrected", EIGHT),  # without its training set's prior; null if the student has none
    ]
)
HELD_OUT = ("heard", "unheard")


def matrix(rows: pa.Table, column: str) -> np.ndarray:
    return np.array(rows[column].to_pylist(), np.float64).reshape(len(rows), len(EMOTIONS))


def rows_of_split(scores: pa.Table, split: str) -> pa.Table:
    """The rows of a split, of "held-out" (heard and unheard together) or of "all". Raises UserError if there are none."""
    wanted = {"held-out": HELD_OUT, "all": SPLITS}.get(split, (split,))
    rows = scores.filter(pc.is_in(scores["split"], pa.array(wanted)))
    if not len(rows):
        have = ", ".join(sorted(set(scores["split"].to_pylist())))
        raise UserError(
            f"no labelled utterance with speech in split {split!r}, only in {have}; choose another --split, such as all"
        )
    return rows


@dataclass(frozen=True)
class ScoredRows:
    """One student's rows as arrays. probabilities_NE, corrected_NE (None without a prior): the student's; logits_NE,
    dominant_N: the teacher's."""

    probabilities_NE: np.ndarray
    corrected_NE: np.ndarray | None
    logits_NE: np.ndarray
    dominant_N: np.ndarray
    speakers_N: np.ndarray

    @classmethod
    def of(cls, rows: pa.Table) -> Self:
        """rows: one student's, with `SCORE_SCHEMA`."""
        return cls(
            matrix(rows, "probabilities"),
            None if rows["corrected"].null_count else matrix(rows, "corrected"),
            matrix(rows, "logits"),
            np.array([EMOTIONS.index(emotion) for emotion in rows["emotion"].to_pylist()]),
            np.array(rows["speaker_id"].to_pylist()),
        )
