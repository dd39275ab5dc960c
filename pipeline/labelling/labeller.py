"""From crops to soft labels: the teacher's raw logits of each frame, and their maximum over the utterance."""

import numpy as np
import pyarrow as pa
import ray

from cluster.devices import work_clock
from modeling.distillation.targets import aggregate
from modeling.emotions import EMOTIONS
from modeling.teachers.load import load_teacher
from pipeline.assets.weights import Weights
from pipeline.rejects import RejectReason
from pipeline.schema import DISTILLATION_SCHEMA, IDENTITY_FIELDS


class TeacherLabeller:
    """Ray Data callable: rows of `CROPPED_SCHEMA` -> rows of `DISTILLATION_SCHEMA`.

    The crops of all utterances of a batch go through the network together, so that short clips also fill a device.
    """

    def __init__(self, teacher: ray.ObjectRef, device: str, flip_tta: bool = False):
        weights: Weights = ray.get(teacher)
        self.teacher = load_teacher(weights.name, weights.data, weights.description, device=device, flip_tta=flip_tta)
        self.clock = work_clock(device)

    def __call__(self, cropped: pa.Table) -> pa.Table:
        rows = cropped.to_pylist()
        start = self.clock()
        counts = [0 if row["reject_reason"] else len(row["frame_indices"]) for row in rows]
        crops = np.frombuffer(b"".join(row.pop("crops") or b"" for row in rows), np.uint8)
        rule = self.teacher.crop_rule
        shape = (sum(counts), rule.side_px, rule.side_px) + (() if rule.grey else (3,))
        logits_NE = self.teacher(crops.reshape(shape))
        seconds_a_face = (self.clock() - start) / max(1, len(logits_NE))
        by_row = np.split(logits_NE, np.cumsum(counts)[:-1])
        labelled = [
            row if row["reject_reason"] else row | {"teacher_s": seconds_a_face * len(logits)} | self._label(logits)
            for row, logits in zip(rows, by_row, strict=True)
        ]
        return pa.Table.from_pylist(labelled, schema=DISTILLATION_SCHEMA)

    def _label(self, logits_NE: np.ndarray) -> dict:
        if not np.isfinite(logits_NE).all():
            return _without_labels("the teacher gave NaN or infinity for a crop")
        logits_E = aggregate(logits_NE)
        return {
            "frame_logits": logits_NE.tolist(),
            "logits": logits_E,
            "emotion": EMOTIONS[int(logits_E.argmax())],
            "teacher": self.teacher.fingerprint,
            "teacher_masks": list(self.teacher.masked),
        }


def _without_labels(detail: str) -> dict:
    """Turns a row into a reject, which keeps only the utterance's identity and the reason."""
    kept = {field.name for field in IDENTITY_FIELDS}
    empty = {name: None for name in DISTILLATION_SCHEMA.names if name not in kept}
    return empty | {"reject_reason": RejectReason.TEACHER_NOT_FINITE.value, "reject_detail": detail}
