"""The actors of the labelling plan: packed tasks of a manifest go in, their parts go to storage, summaries come out."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.actor import ActorHandle

from cluster.lease import Proof
from cluster.tally import Meter
from cluster.worker_exit import arm_exit_alarm
from pipeline.dataset import distillation_set
from pipeline.labelling.labeller import TeacherLabeller
from pipeline.labelling.tasks import packed, regrouped, unpacked

WORK_SECONDS = ("decode_s", "detect_s", "teacher_s")
"""Columns of seconds of work, summed into the run's record."""


class PartCropper:
    """Ray Data callable: a packed task -> its parts, packed one by one, each as soon as its last utterance is cropped."""

    def __init__(self, cropper: type, **arguments: Any):
        arm_exit_alarm()
        self.cropper = cropper(**arguments)

    def __call__(self, task: pa.Table) -> Iterator[pa.Table]:
        for part in self.parts(task):
            yield packed(part, [len(part)])

    def parts(self, task: pa.Table) -> Iterator[pa.Table]:
        rows, sizes = unpacked(task)
        return regrouped(self.cropper(rows), sizes)


class PartWriter:
    """Ray Data callable: a packed part -> a part of the set on storage, of which only the summary goes on.

    Labelling and writing share a process: the rows with their sound need not travel again. Repeating a part after a
    crash replaces it.
    """

    def __init__(
        self,
        proof: Proof,
        generation: int,
        labeller: Callable[..., TeacherLabeller],
        teacher: ray.ObjectRef,
        device: str,
        tally: ActorHandle,
    ):
        arm_exit_alarm()
        self.proof = proof
        self.generation = generation
        self.labeller = labeller(teacher, device)
        self.meter = Meter(tally)

    def __call__(self, part: pa.Table) -> pa.Table:
        return self.summary(unpacked(part)[0])

    def summary(self, cropped: pa.Table) -> pa.Table:
        """Labels and writes a part; returns one row of its number of rows and its seconds of work. Raises UserError where
        another run has the output by now."""
        rows = self.labeller(cropped)
        start = time.perf_counter()
        self.proof.check()
        size_bytes = distillation_set.write_part(self.proof.output_uri, rows, self.generation)
        rejected = len(rows) - rows["reject_reason"].null_count
        was_rejected = len(rows) - cropped["reject_reason"].null_count
        teacher_s = float(pc.sum(rows["teacher_s"]).as_py() or 0.0)
        logits_bytes = rows["frame_logits"].nbytes
        self.meter.count("teacher", len(rows) - was_rejected, rejected - was_rejected, teacher_s, logits_bytes)
        self.meter.count("write", len(rows), 0, time.perf_counter() - start, size_bytes)
        self.meter.send()
        seconds = {name: [float(pc.sum(rows[name]).as_py() or 0.0)] for name in WORK_SECONDS}
        return pa.table({"rows": [len(rows)], **seconds})


class PartLabeller:
    """Ray Data callable: a packed task -> the summaries of its parts, each cropped, labelled and written in this process."""

    def __init__(self, to_crop: dict[str, Any], to_write: dict[str, Any]):
        self.cropper = PartCropper(**to_crop)
        self.writer = PartWriter(**to_write)

    def __call__(self, task: pa.Table) -> Iterator[pa.Table]:
        for part in self.cropper.parts(task):
            yield self.writer.summary(part)
