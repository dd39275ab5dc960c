"""Labelling at the size of VoxCeleb2 with a cheap stand-in for the media work, to measure the cost of the plan itself.

Everything except the work on an utterance is the job's own: cutting, actor pools, parts, resume and audit.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cluster import storage
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.logs import show_logs
from cluster.run_record import RunRecord
from cluster.working_tree import PROJECT_ROOT
from modeling.emotions import EMOTIONS
from pipeline.assets.weights import Weights, teacher_weights
from pipeline.benches.measuring import peak_memory_mb
from pipeline.benches.options import BenchScale
from pipeline.dataset import distillation_set
from pipeline.dataset.manifest import as_manifest, read_manifest, write_manifest
from pipeline.dataset.parts import USUAL_FRAMES, cut_parts, part_rows
from pipeline.labelling.crop_options import CropOptions
from pipeline.labelling.cropper import CROPPED_SCHEMA
from pipeline.labelling.placement import LabelPlan
from pipeline.labelling.record_stages import FIRST_PART
from pipeline.labelling.run import LabelRequest, label
from pipeline.schema import DISTILLATION_SCHEMA, IDENTITY_FIELDS

UTTERANCES_A_VIDEO = 7
"""VoxCeleb1 has 153,516 utterances in 22,496 videos, VoxCeleb2 1,128,246 in 150,480 (their papers, table 1)."""

LIMIT_DRIVER_MB = 1500
LIMIT_RESUME_S = 60
DONE_BEFORE_RESUME = 0.9
FLOOR_ROWS = 30_000

UNITS = {
    "rows": "utterances",
    "rows_per_s": "utterances/s",
    "seconds": "s",
    "first_work_s": "s",
    "floor_seconds": "s",
    "over_floor": "ratio",
    "driver_peak_mb": "MB",
    "resume_first_work_s": "s",
}
"""Quantities that --record writes."""

CHEAP_CROPS_BYTES = 4096
"""Bytes of an utterance's crops. If parts go to a teacher process, Ray keeps those below 100 kB in the driver's heap, and no
real part is that small."""

CHEAP_WORK = (
    "no file is opened: an utterance becomes a row with 33 frame times, 4 kB of random bytes for its crops instead of 135, "
    "no boxes and no speech, and the teacher is 8 random numbers a frame; a row takes 1 kB on storage instead of 150"
)


class CheapCropper:
    """In place of `FaceCropper`: its output has the columns of a cropped utterance, with made-up pictures."""

    def __init__(self, **arguments: Any):
        self.names = [field.name for field in IDENTITY_FIELDS]
        self.random = np.random.default_rng(0)

    def __call__(self, utterances: pa.Table) -> Iterator[pa.Table]:
        n = len(utterances)
        columns = {name: utterances[name] for name in self.names} | {
            "frame_indices": pa.array([np.arange(USUAL_FRAMES)] * n, pa.list_(pa.int32())),
            "frame_times_s": pa.array([np.arange(USUAL_FRAMES) * 0.24] * n, pa.list_(pa.float64())),
            "crops": pa.array([self.random.bytes(CHEAP_CROPS_BYTES) for _ in range(n)], pa.binary()),
            "frames_sampled": pa.array(np.full(n, USUAL_FRAMES), pa.int32()),
        }
        empty = {field.name: pa.nulls(n, field.type) for field in CROPPED_SCHEMA if field.name not in columns}
        yield pa.table(columns | empty).select(CROPPED_SCHEMA.names)


class CheapLabeller:
    """In place of `TeacherLabeller`: random logits."""

    def __init__(self, teacher: Any, device: str, flip_tta: bool = False):
        self.random = np.random.default_rng(0)

    def __call__(self, cropped: pa.Table) -> pa.Table:
        n = len(cropped)
        logits_NFE = self.random.normal(size=(n, USUAL_FRAMES, len(EMOTIONS))).astype(np.float32)
        columns = {name: cropped[name] for name in DISTILLATION_SCHEMA.names} | {
            "frame_logits": pa.array(logits_NFE.tolist(), pa.list_(pa.list_(pa.float32()))),
            "logits": pa.array(list(logits_NFE.max(axis=1)), pa.list_(pa.float32())),
        }
        return pa.table(columns).cast(DISTILLATION_SCHEMA)


@dataclass(frozen=True, kw_only=True)
class DrivenRun:
    """A run in its own process: its seconds, the seconds until its first part was on storage, and its memory in 10^6 bytes."""

    seconds: float
    first_work_s: float
    driver_peak_mb: int


@dataclass(frozen=True, kw_only=True)
class ScaleResult:
    """A whole run, a run that continues with 90 % done, the floor and the limits."""

    rows: int
    work: str = CHEAP_WORK
    seconds: float
    rows_per_s: float
    first_work_s: float
    floor_seconds: float
    over_floor: float
    parts: int
    driver_peak_mb: int
    driver_limit_mb: int = LIMIT_DRIVER_MB
    driver_under_limit: bool
    resume_seconds: float
    resume_first_work_s: float
    resume_limit_s: int = LIMIT_RESUME_S
    resume_under_limit: bool


def bench_scale(options: BenchScale, record: RunRecord) -> ScaleResult:
    """Each run is a process of its own, so that its memory can be measured."""
    with _output(options.out) as out:
        labels, manifest = storage.join(out, "labels"), storage.join(out, "manifest.parquet")
        write_manifest(made_up_manifest(options.rows), manifest)
        command = {"manifest": manifest, "labels": labels, "address": options.address}
        command |= {"workers": options.crop_workers, "teachers": options.teacher_workers}
        with record.stage("fresh"):
            fresh = _driven(command)
        done = distillation_set.part_uris(labels)
        for uri in done[:: round(1 / (1 - DONE_BEFORE_RESUME))]:
            storage.delete(uri)
        with record.stage("resume"):
            resume = _driven(command)
        floor_s = floor_seconds(cheap_run(manifest, storage.join(out, "floor")))
    driver_mb = max(fresh.driver_peak_mb, resume.driver_peak_mb)
    return ScaleResult(
        rows=options.rows,
        seconds=fresh.seconds,
        rows_per_s=round(options.rows / fresh.seconds, 1),
        first_work_s=fresh.first_work_s,
        floor_seconds=round(floor_s, 1),
        over_floor=round(fresh.seconds / floor_s, 2),
        parts=len(done),
        driver_peak_mb=driver_mb,
        driver_under_limit=driver_mb < LIMIT_DRIVER_MB,
        resume_seconds=resume.seconds,
        resume_first_work_s=resume.first_work_s,
        resume_under_limit=resume.first_work_s < LIMIT_RESUME_S,
    )


def made_up_manifest(rows: int, utterances_a_video: int = UTTERANCES_A_VIDEO) -> pa.Table:
    """A manifest with names as long as VoxCeleb2's and utterances of 8 s."""
    videos, places = np.divmod(np.arange(rows), utterances_a_video)
    names = [f"id{video % 6112:05d}/{video:011d}" for video in videos]
    uris = [f"s3://voxceleb/vox2/dev/mp4/{name}/video.mp4" for name in names]
    columns = {
        "utterance_id": [f"{name}/{place:05d}" for name, place in zip(names, places, strict=True)],
        "speaker_id": [name[:7] for name in names],
        "video_id": [name[8:] for name in names],
        "video_uri": uris,
        "audio_uri": uris,
        "start_s": places * 8.0,
        "end_s": places * 8.0 + 8.0,
        "split": ["train"] * rows,
    }
    return as_manifest(columns, "the made-up manifest")


def cheap_run(manifest: str, labels: str) -> LabelRequest:
    """The request that `emovox label` would make for the compact teacher, with the cheap work."""
    return LabelRequest(
        manifest=read_manifest(manifest),
        labels_uri=storage.absolute(labels),
        teacher=teacher_weights("compact"),
        detector=Weights("none", b""),
        cropper=CheapCropper,
        labeller=CheapLabeller,
    )


def floor_seconds(run: LabelRequest) -> float:
    """Seconds to write all parts in one process without a plan, extrapolated from the first `FLOOR_ROWS` utterances."""
    cropper, labeller = CheapCropper(), CheapLabeller(None, "cpu")
    rows = part_rows(len(run.manifest), run.crop_rule.size_bytes)
    parts = list(cut_parts(run.manifest.slice(0, FLOOR_ROWS), rows))
    start = time.perf_counter()
    for part in parts:
        for cropped in cropper(part):
            distillation_set.write_part(run.labels_uri, labeller(cropped))
    return (time.perf_counter() - start) * len(run.manifest) / sum(map(len, parts))


def _driven(command: dict[str, Any]) -> DrivenRun:
    """Does one run in a new process, so that its memory is that of the labelling driver alone."""
    request = json.dumps(command | {"started": time.time()})
    run = [sys.executable, "-m", "pipeline.benches.scale", request]
    ended = subprocess.run(run, stdout=subprocess.PIPE, cwd=PROJECT_ROOT, check=False)
    if ended.returncode:
        raise UserError(f"a run of the benchmark ended with exit code {ended.returncode}; what it said is above")
    return DrivenRun(**json.loads(ended.stdout.splitlines()[-1]))


def drive(
    *, manifest: str, labels: str, address: str | None, started: float, workers: int | None, teachers: int | None = None
) -> DrivenRun:
    """Does what `emovox label` does, with the cheap work. `started`: when the process was started, in Unix seconds."""
    record = RunRecord("bench-scale", CropOptions())
    record.started = started
    plan = LabelPlan(crop_workers=workers, teacher_workers=teachers)
    label(cheap_run(manifest, labels), plan, address=address, record=record)
    return DrivenRun(
        seconds=round(record.seconds(), 1),
        first_work_s=round(record.stages[FIRST_PART], 1),
        driver_peak_mb=round(peak_memory_mb()),
    )


@contextlib.contextmanager
def _output(uri: str | None) -> Generator[str]:
    if uri is not None:
        yield uri
        return
    with tempfile.TemporaryDirectory(prefix="emovox-scale-") as folder:
        yield folder


if __name__ == "__main__":
    show_logs()
    print(json.dumps(json_ready(drive(**json.loads(sys.argv[1])))))
