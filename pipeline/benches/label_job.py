"""The job of `emovox bench label`, in its own process, which is paused while the floor is measured."""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from cluster import storage
from cluster.failures import UserError
from cluster.logs import show_logs
from cluster.run_record import RunRecord
from cluster.session import session
from cluster.tally import Counts, StageCount
from cluster.working_tree import PROJECT_ROOT
from modeling.teachers.catalogue import DEFAULT_TEACHER
from pipeline.assets.packages import DEFAULT_DETECTOR
from pipeline.assets.weights import detector_weights, teacher_weights
from pipeline.benches.label_floor import Spent
from pipeline.benches.pausing import Pausable
from pipeline.dataset import distillation_set
from pipeline.dataset.manifest import MANIFEST_SCHEMA, as_manifest, read_manifest, write_manifest
from pipeline.decoding.deadline import Deadline
from pipeline.labelling import run as labelling
from pipeline.labelling.crop_options import CropOptions
from pipeline.labelling.placement import LabelPlan

CPU_STAGES = ("decode", "faces")
"""Stages whose seconds are CPU seconds, which do not include pauses; a teacher's seconds on a GPU are wall seconds."""

WORK_STAGES = (*CPU_STAGES, "teacher")

DRY_AT = 0.9
"""Share of all rows decoded, after which a cropping process may find no more tasks."""


@dataclass(frozen=True)
class Look:
    """The progress at a moment: Unix seconds, seconds of work of all stages, rows decoded and rows on storage."""

    at: float
    work_s: float
    decoded: int
    written: int


@dataclass(frozen=True, kw_only=True)
class JobFacts:
    """Facts from a `JobTiming` that are reported with the figures. stages: the counts of each stage."""

    rows: int
    worked_s: float
    steady_s: float
    start_s: float
    pauses_s: list[float]
    stages: Mapping[str, Any]


@dataclass(frozen=True)
class JobTiming:
    """What the job did: rows, seconds from the first task to the last part on storage, seconds of Ray's start before and of
    the audit after, the counts of its stages, their seconds of work, and its progress about once a second.

    pauses: (begin, end) of each pause in Unix seconds; `seconds` includes them.
    """

    rows: int
    seconds: float
    start_s: float
    stages: Counts
    work_s: float
    looks: list[Look]
    pauses: Sequence[tuple[float, float]] = ()

    @property
    def worked_s(self) -> float:
        """`seconds` without the pauses."""
        return self.seconds - sum(end - begin for begin, end in self.pauses)

    @property
    def steady_s(self) -> float:
        """What `worked_s` would be at the speed of the steady state: seconds of work per wall second, from the first part on
        storage until tasks run out. The number of rows between the stages at either end does not matter."""
        within = [look for look in self.looks if look.written and look.decoded <= DRY_AT * self.rows]
        if len(within) < 2 or within[-1].work_s == within[0].work_s:
            return self.worked_s
        first, last = within[0], within[-1]
        paused_s = sum(max(0.0, min(end, last.at) - max(begin, first.at)) for begin, end in self.pauses)
        return self.work_s * (last.at - first.at - paused_s) / (last.work_s - first.work_s)

    def facts(self) -> JobFacts:
        return JobFacts(
            rows=self.rows,
            worked_s=round(self.worked_s, 2),
            steady_s=round(self.steady_s, 2),
            start_s=round(self.start_s, 2),
            pauses_s=[round(end - begin, 2) for begin, end in self.pauses],
            stages=self.stages,
        )


def job_and_floors(
    paths: Sequence[str], slice_s: float, floor: Callable[[], Spent], gpu: bool = False
) -> tuple[JobTiming, list[Spent]]:
    """Labels the files as `emovox label` does, with the teacher on a GPU if `gpu`.

    After its first part, the job is paused after every `slice_s` seconds of its work until `floor` has been measured, so
    that both meet the same machine, however its speed drifts.
    """
    floors: list[Spent] = []
    with tempfile.TemporaryDirectory(prefix="emovox-bench-") as out:
        manifest, labels = storage.join(out, "manifest.parquet"), storage.join(out, "labels")
        write_manifest(_manifest(paths), manifest)
        command = [sys.executable, "-m", "pipeline.benches.label_job", manifest, labels, *(["--gpu"] if gpu else [])]
        with Pausable(command, PROJECT_ROOT) as job:
            while not _written(labels) and job.runs_on(0.5):
                pass
            while job.runs_on(slice_s) and _written(labels) < len(paths):
                with job.paused():
                    floors.append(floor())
            answer = job.output()
            if job.process.returncode:
                raise UserError(f"the job ended with exit code {job.process.returncode}; what it said is above")
            told = json.loads(answer.splitlines()[-1])
    stages = {name: StageCount(**count) for name, count in told["stages"].items()}
    looks = [Look(**look) for look in told["looks"]]
    return JobTiming(**told | {"stages": stages, "looks": looks, "pauses": job.pauses}), floors


def _written(labels: str) -> int:
    """Number of utterances on storage."""
    return len(distillation_set.read_columns(labels, ["utterance_id"]))


def _labelled(manifest: str, labels: str, gpu: bool) -> JobTiming:
    """Labels the clips; runs in the job's process."""
    plan, looks = LabelPlan(gpus_per_teacher=float(gpu)), []
    record = RunRecord("bench-label", plan)

    def work_s(stages: Counts) -> float:
        return sum(stages[stage].seconds for stage in (CPU_STAGES if gpu else WORK_STAGES) if stage in stages)

    def look(stages: Counts) -> None:
        decoded, written = (stages.get(stage, StageCount()).rows for stage in ("decode", "write"))
        looks.append(Look(time.time(), work_s(stages), decoded, written))

    request = labelling.LabelRequest(
        manifest=read_manifest(manifest),
        labels_uri=labels,
        teacher=teacher_weights(DEFAULT_TEACHER),
        detector=detector_weights(DEFAULT_DETECTOR),
        crop_options=CropOptions(
            deadline=Deadline(to_open_s=3600.0)
        ),  # the child's own alarm, which keeps counting during a pause
        watcher=look,
    )
    with record.stage("all"), session(None):
        labelled = labelling.label(request, plan, address=None, record=record).whole_set.labelled
    rows = len(request.manifest)
    if labelled != rows:
        raise RuntimeError(f"the job labelled {labelled} of {rows} clips that the floor could label")
    worked_s = record.stages[labelling.WORK]
    stages = record.counts["stages"]
    return JobTiming(rows, worked_s, record.stages["all"] - worked_s, stages, work_s(stages), looks)


def _manifest(paths: Sequence[str]) -> pa.Table:
    """A manifest in which each clip is one utterance, from its beginning to its end."""
    columns = {
        "utterance_id": [f"{place:06d}" for place in range(len(paths))],
        "speaker_id": ["speaker"] * len(paths),
        "video_id": [f"{place:06d}" for place in range(len(paths))],
        "video_uri": list(paths),
        "audio_uri": list(paths),
        "start_s": [0.0] * len(paths),
        "end_s": [None] * len(paths),
        "split": ["train"] * len(paths),
    }
    empty = {name: [None] * len(paths) for name in MANIFEST_SCHEMA.names if name not in columns}
    return as_manifest(columns | empty, "the bench's manifest")


if __name__ == "__main__":
    show_logs()
    print(json.dumps(asdict(_labelled(*sys.argv[1:3], gpu="--gpu" in sys.argv[3:]))))
