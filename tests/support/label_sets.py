"""Distillation sets on disk with labels of our choosing, as complete runs leave them."""

import json
from pathlib import Path

import numpy as np

from modeling.emotions import EMOTIONS
from pipeline.dataset.distillation_set import close, write_part
from tests.support.label_rows import label_table, labelled_row
from tests.support.report_inputs import drawn_face

PART = 16


def soft_row(utterance_id: str, logits, **columns) -> dict:
    """A short utterance with these logits, a face and a tone."""
    logits = np.asarray(logits, np.float32)
    emotion = EMOTIONS[int(logits.argmax())]
    faces = {"thumbnails": [drawn_face(0.5)], "thumbnail_times_s": [0.0]}
    return labelled_row(utterance_id, emotion, seconds=1.2, **({"logits": logits.tolist()} | faces | columns))


def write_set(folder: Path, rows: list[dict], *, manifest: str = "m", is_finished: bool = True) -> str:
    """In parts of PART rows. Returns the folder as text."""
    for start in range(0, len(rows), PART):
        write_part(str(folder), label_table(rows[start : start + PART]))
    (folder / "identity.json").write_text(json.dumps({"manifest": manifest, "teacher": "compact@0"}))
    if is_finished:
        close(str(folder))
        (folder / "run.json").write_text("{}")
    return str(folder)
