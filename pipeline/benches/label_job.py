"""The job of `emovox bench label`, in a process of its own that stands still while the floor is measured."""

import json
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from cluster import storage
from cluster.failures import UserError
from cluster.run_record import RunRecord
from cluster.session import PROJECT_ROOT, session
from modeling.teacher import DEFAULT_TEACHER
from pipeline import distillation_set, labelling
from pipeline.benches.label_floor import Spent
from pipeline.benches.pausing import Pausable
from pipeline.decoding import Deadline
from pipeline.face_cropping import CropOptions
from pipeline.label_plan import LabelPlan
from pipeline.manifest import MANIFEST_SCHEMA, as_manifest, read_manifest, write_manifest
from pipeline.weights import DEFAULT_DETECTOR, detector_weights, teacher_weights


@dataclass(frozen=True)
class Run:
    """What the job did: rows, seconds from the first task to the last part on storage without the pauses, seconds of Ray's
    start before and of the audit after, and what its stages counted."""

    rows: int
    seconds: float
    start_s: float
    stages: dict[str, dict]
    pauses: int = 0

    def facts(self) -> dict:
        return asdict(self) | {"seconds": round(self.seconds, 2), "start_s": round(self.start_s, 2)}


def job_and_floors(paths: Sequence[str], slice_s: float, floor: Callable[[], Spent]) -> tuple[Run, list[Spent]]:
    """Labels the files as `emovox label` does. From its first part on the job stands still after every `slice_s` seconds of
    its work, until `floor` has been measured; so both meet the same machine, however its speed wanders."""
    floors: list[Spent] = []
    with tempfile.TemporaryDirectory(prefix="emovox-bench-") as out:
        manifest, labels = storage.join(out, "manifest.parquet"), storage.join(out, "labels")
        write_manifest(_manifest(paths), manifest)
        command = [sys.executable, "-m", "pipeline.benches.label_job", manifest, labels]
        with Pausable(command, PROJECT_ROOT) as job:
            while not _written(labels) and job.runs_on(0.5):
                pass
            while job.runs_on(slice_s) and _written(labels) < len(paths):
                with job.paused():
                    floors.append(floor())
            answer = job.output()
            if job.process.returncode:
                raise UserError(f"the job ended with exit code {job.process.returncode}; what it said is above")
            run = Run(**json.loads(answer.splitlines()[-1]))
            paused_s = sum(end - begin for begin, end in job.pauses)
    return Run(run.rows, run.seconds - paused_s, run.start_s, run.stages, len(floors)), floors


def _written(labels: str) -> int:
    """Utterances that are on storage."""
    return len(distillation_set.read_columns(labels, ["utterance_id"]))


def _labelled(manifest: str, labels: str) -> Run:
    """In the process of the job."""
    record = RunRecord("bench-label", LabelPlan())
    run = labelling.LabelRun(
        manifest=read_manifest(manifest),
        labels_uri=labels,
        teacher=teacher_weights(DEFAULT_TEACHER),
        detector=detector_weights(DEFAULT_DETECTOR),
        crops=CropOptions(deadline=Deadline(to_open_s=3600.0)),  # which goes on while the process stands still
    )
    with record.stage("all"), session(None):
        counts = labelling.label(run, LabelPlan(), None, record)
    if counts["labelled"] != len(run.manifest):
        raise RuntimeError(
            f"the job labelled {counts['labelled']} of {len(run.manifest)} clips that the floor could label"
        )
    worked_s = record.stages[labelling.WORK]
    return Run(len(run.manifest), worked_s, record.stages["all"] - worked_s, record.counts["stages"])


def _manifest(paths: Sequence[str]) -> pa.Table:
    """Each clip one utterance, from its beginning to its end."""
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
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("emovox").setLevel(logging.INFO)
    print(json.dumps(asdict(_labelled(*sys.argv[1:]))))
