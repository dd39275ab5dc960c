"""Composes videos -> distillation set as one Ray Data plan, in the order a video travels.

manifest blocks -> FaceCropper (actors: decode, detect, track, crop) -> PartWriter (actors: teacher, then the part goes to
storage) -> one summary row a part, which is all that comes back to the driver.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import ActorPoolStrategy

from cluster.budget import Stage
from cluster.identity import claim
from cluster.progress import progress
from cluster.run_record import RunRecord
from cluster.session import place, session, worker_cores
from modeling.teacher import load_teacher
from modeling.teacher_base import CropRule
from pipeline import distillation_set
from pipeline.face_cropping import CropOptions, FaceCropper
from pipeline.manifest import manifest_fingerprint
from pipeline.schema import SCHEMA_VERSION
from pipeline.teacher_labels import TeacherLabeller
from pipeline.weights import Weights

MAX_BLOCK_ROWS = 32
"""Utterances in a block: about one VoxCeleb1 video of 7 to a few; 32 crops x 33 frames fill a teacher batch."""

BLOCKS_PER_WORKER = 4
"""At least so many blocks for each cropping worker, so that none is idle while another holds a large block."""

WORK_SECONDS = ("decode_s", "detect_s", "teacher_s")
"""Columns of seconds of work, summed into the run's record."""

log = logging.getLogger("emovox")


@dataclass(frozen=True, kw_only=True)
class LabelPlan:
    """How the work is spread; none of it changes a label."""

    crop_workers: int | None = None
    teacher_workers: int = 1
    gpus_per_teacher: float = 0.0
    gpus_per_cropper: float = 0.0

    def stages(self, cores: int) -> list[Stage]:
        """The two actor pools; a cropping worker for each of `cores` where no number is asked for."""
        return [
            Stage(name="face cropping", workers=self.crop_workers or cores, cpus=1.0, gpus=self.gpus_per_cropper),
            Stage(name="teacher", workers=self.teacher_workers, cpus=1.0, gpus=self.gpus_per_teacher),
        ]


@dataclass(frozen=True, kw_only=True)
class LabelRun:
    """One labelling run: what goes in, where it goes out and with which networks."""

    manifest: pa.Table
    labels_uri: str
    teacher: Weights
    detector: Weights
    crops: CropOptions = field(default_factory=CropOptions)

    def identity(self) -> dict:
        """What decides the labels; see `cluster.identity.claim`."""
        return {
            "schema_version": SCHEMA_VERSION,
            "manifest": manifest_fingerprint(self.manifest),
            "teacher": self.teacher.fingerprint,
            "detector": self.detector.fingerprint,
            "teacher_crops": asdict(self.teacher_crops()),
            "teacher_description": self.teacher.description.decode() or None,
            "aggregation": "max",
            **asdict(self.crops),
        }

    def teacher_crops(self) -> CropRule:
        return load_teacher(self.teacher.name, self.teacher.data, self.teacher.description).crops


def label(run: LabelRun, plan: LabelPlan, address: str | None, record: RunRecord) -> dict:
    """Labels what is not labelled yet and audits the whole set. Returns rows, labelled, rejected, reasons."""
    claim(run.labels_uri, run.identity())
    distillation_set.drop_doubles(run.labels_uri)
    todo = distillation_set.pending(run.manifest, run.labels_uri)
    if len(todo) < len(run.manifest):
        log.info("%d of %d utterances are labelled already", len(run.manifest) - len(todo), len(run.manifest))
    if len(todo):
        with session(address), progress(len(todo), "label", "utterances") as bar:
            stages = plan.stages(worker_cores(address))
            place(stages)
            for summary in _execute(run, stages, todo):
                bar.update(summary["rows"])
                for name in WORK_SECONDS:
                    record.counts[f"worker_{name}"] = record.counts.get(f"worker_{name}", 0.0) + summary[name]
    distillation_set.drop_doubles(run.labels_uri)
    return distillation_set.audit(run.manifest, run.labels_uri)


def _execute(run: LabelRun, stages: list[Stage], todo: pa.Table) -> Iterator[dict]:
    """The plan itself; yields the summary of each part when it is on storage."""
    cropping, labelling = stages
    summaries = (
        ray.data.from_arrow(list(blocks(todo, cropping.workers)))
        .map_batches(
            FaceCropper,
            fn_constructor_kwargs={
                "options": run.crops,
                "crops": run.teacher_crops(),
                "detector": ray.put(run.detector),
                "device": _device(cropping),
            },
            **_pool(cropping),
        )
        .map_batches(
            PartWriter,
            fn_constructor_kwargs={
                "labels_uri": run.labels_uri,
                "teacher": ray.put(run.teacher),
                "device": _device(labelling),
            },
            **_pool(labelling),
        )
    )
    for batch in summaries.iter_batches(batch_format="pyarrow", batch_size=None):
        yield from batch.to_pylist()


class PartWriter:
    """Ray Data callable: cropped rows -> a part of the set on storage, of which only the summary goes on.

    Labelling and writing share a process: the rows with their sound need not travel again. Repeating a batch after a
    crash replaces its part.
    """

    def __init__(self, labels_uri: str, teacher: ray.ObjectRef, device: str):
        self.labels_uri = labels_uri
        self.labeller = TeacherLabeller(teacher, device)

    def __call__(self, cropped: pa.Table) -> pa.Table:
        rows = self.labeller(cropped)
        distillation_set.write_part(self.labels_uri, rows)
        seconds = {name: [float(pc.sum(rows[name]).as_py() or 0.0)] for name in WORK_SECONDS}
        return pa.table({"rows": [len(rows)], **seconds})


def _device(stage: Stage) -> str:
    return "cuda" if stage.gpus else "cpu"


def _pool(stage: Stage) -> dict:
    """Ray Data arguments of an actor stage: whole blocks, a fixed pool, two tasks waiting at each actor."""
    resources = {"num_cpus": stage.cpus} | ({"num_gpus": stage.gpus} if stage.gpus else {})
    return {
        "batch_format": "pyarrow",
        "batch_size": MAX_BLOCK_ROWS if stage.gpus else None,
        "compute": ActorPoolStrategy(size=stage.workers, max_tasks_in_flight_per_actor=2),
        **resources,
    }


def blocks(utterances: pa.Table, workers: int) -> Iterator[pa.Table]:
    """Cuts the manifest into blocks in the order of its files, so that a block opens few files, each once if it can.

    A file's utterances are split only where a block would exceed its size: `MAX_BLOCK_ROWS`, or less for a small
    manifest so that every worker gets `BLOCKS_PER_WORKER` blocks.
    """
    ordered = utterances.sort_by([("video_uri", "ascending"), ("start_s", "ascending")])
    size = int(np.clip(-(-len(ordered) // (workers * BLOCKS_PER_WORKER)), 1, MAX_BLOCK_ROWS))
    uris = ordered["video_uri"].combine_chunks().dictionary_encode().indices.to_numpy()
    file_starts = set(np.flatnonzero(np.diff(uris)) + 1)
    start = 0
    while start < len(ordered):
        end = min(start + size, len(ordered))
        if end < len(ordered):
            end = next((cut for cut in range(end, start, -1) if cut in file_starts), end)
        yield ordered.slice(start, end - start)
        start = end
