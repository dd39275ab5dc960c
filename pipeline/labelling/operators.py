"""The actors of the labelling plan: packed tasks of a manifest come in, parts go to storage, summaries go out."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.actor import ActorHandle

from cluster.lease import Proof
from cluster.tally import Meter
from cluster.worker_exit import arm_exit_alarm
from pipeline.dataset import distillation_set
from pipeline.labelling.tasks import packed, regrouped, unpacked

Cropper = Callable[[pa.Table], Iterator[pa.Table]]
"""Manifest rows -> tables of `CROPPED_SCHEMA`; `FaceCropper` is one."""

Labeller = Callable[[pa.Table], pa.Table]
"""Rows of `CROPPED_SCHEMA` -> rows of `DISTILLATION_SCHEMA`; `TeacherLabeller` is one."""


@dataclass(frozen=True)
class PartSummary:
    """Counts of one or several parts: rows, and the seconds of work from the columns of the same names."""

    rows: int = 0
    decode_s: float = 0.0
    detect_s: float = 0.0
    teacher_s: float = 0.0

    @classmethod
    def of(cls, rows: pa.Table) -> "PartSummary":
        return cls(len(rows), *(_sum(rows, name) for name in ("decode_s", "detect_s", "teacher_s")))

    def __add__(self, other: "PartSummary") -> "PartSummary":
        return PartSummary(
            self.rows + other.rows,
            self.decode_s + other.decode_s,
            self.detect_s + other.detect_s,
            self.teacher_s + other.teacher_s,
        )


def _sum(rows: pa.Table, column: str) -> float:
    return float(pc.sum(rows[column]).as_py() or 0.0)


class PartCropper:
    """Ray Data callable: a packed task -> its packed parts, each as soon as its last utterance is cropped."""

    def __init__(self, cropper: Callable[..., Cropper], **arguments: Any):
        arm_exit_alarm()
        self.cropper = cropper(**arguments)

    def __call__(self, task: pa.Table) -> Iterator[pa.Table]:
        for part in self.parts(task):
            yield packed(part, [len(part)])

    def parts(self, task: pa.Table) -> Iterator[pa.Table]:
        rows, sizes = unpacked(task)
        return regrouped(self.cropper(rows), sizes)


class PartWriter:
    """Ray Data callable: a packed part -> its summary; the part itself is labelled and written to storage.

    Labelling and writing share a process, so the rows and their sound need not move again. Repeating a part after a
    crash replaces it.
    """

    def __init__(
        self,
        *,
        proof: Proof,
        generation: int,
        labeller: Callable[..., Labeller],
        teacher: ray.ObjectRef | None,
        device: str,
        tally: ActorHandle,
    ):
        arm_exit_alarm()
        self.proof = proof
        self.generation = generation
        self.labeller = labeller(teacher, device)
        self.has_teacher = teacher is not None
        self.meter = Meter(tally)

    def __call__(self, part: pa.Table) -> pa.Table:
        return self.written(unpacked(part)[0])

    def written(self, cropped: pa.Table) -> pa.Table:
        """Labels and writes a part. Returns its `PartSummary` as a table of one row. Raises UserError if another run has taken
        over the output."""
        rows = self.labeller(cropped)
        start = time.perf_counter()
        self.proof.check()
        size_bytes = distillation_set.write_part(self.proof.output_uri, rows, self.generation)
        rejected = len(rows) - rows["reject_reason"].null_count
        was_rejected = len(rows) - cropped["reject_reason"].null_count
        summary = PartSummary.of(rows)
        if self.has_teacher:
            labelled, logits_bytes = len(rows) - was_rejected, rows["frame_logits"].nbytes
            self.meter.count("teacher", labelled, rejected - was_rejected, summary.teacher_s, logits_bytes)
        self.meter.count("write", len(rows), 0, time.perf_counter() - start, size_bytes)
        self.meter.send()
        return pa.Table.from_pylist([asdict(summary)])


class PartLabeller:
    """Ray Data callable: a packed task -> the summaries of its parts, which this process crops, labels and writes."""

    def __init__(self, to_crop: dict[str, Any], to_write: dict[str, Any]):
        self.cropper = PartCropper(**to_crop)
        self.writer = PartWriter(**to_write)

    def __call__(self, task: pa.Table) -> Iterator[pa.Table]:
        for part in self.cropper.parts(task):
            yield self.writer.written(part)
