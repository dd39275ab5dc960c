"""Composes videos -> distillation set as one Ray Data plan, in the order a video travels.

tasks of the manifest -> actors that decode, detect, track and crop -> the teacher, then the part goes to storage -> one
summary row a part, which is all that comes back to the driver. On CPUs the teacher works where the crops are made, so that
it grows with the cores; on GPUs, or on nodes of its own, it is a second pool of actors.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace

import pyarrow as pa
import ray
from ray.actor import ActorHandle
from ray.data import ActorPoolStrategy

from cluster.budget import Stage
from cluster.huge_pages import HUGE_PAGES
from cluster.identity import claim
from cluster.lease import Proof, lease
from cluster.progress import progress
from cluster.run_record import RunRecord
from cluster.session import is_embedded, session
from cluster.tally import start_tally
from modeling.teachers.base import CropRule
from modeling.teachers.load import load_teacher
from pipeline.assets.weights import Weights
from pipeline.dataset import distillation_set
from pipeline.dataset.manifest import manifest_fingerprint
from pipeline.dataset.parts import part_rows
from pipeline.labelling.cropper import CropOptions, FaceCropper
from pipeline.labelling.labeller import TeacherLabeller
from pipeline.labelling.node_watch import NodesLost, watch
from pipeline.labelling.operators import WORK_SECONDS, PartCropper, PartLabeller, PartWriter
from pipeline.labelling.placement import LabelPlan
from pipeline.labelling.retry_rejects import Retry
from pipeline.labelling.retry_rejects import begin as begin_retry
from pipeline.labelling.stage_progress import stage_table, watched
from pipeline.labelling.tasks import cut_tasks, packed
from pipeline.schema import SCHEMA_VERSION

FIRST_PART = "until the first part"
"""Stage of the run's record: from the start of the job until the first new part was on storage."""

WORK = "from the first task to the last part"
"""Stage of the run's record: what labelling takes when everything has started."""

LIMITS = ("deadline",)
"""Options of the identity that change no label, only which utterances get one; a retry may change them."""

log = logging.getLogger("emovox")


@dataclass(frozen=True, kw_only=True)
class LabelRun:
    """One labelling run: what goes in, where it goes out and with which networks."""

    manifest: pa.Table
    labels_uri: str
    teacher: Weights
    detector: Weights
    crops: CropOptions = field(default_factory=CropOptions)
    mirror: bool = False
    cropper: type = FaceCropper
    labeller: type = TeacherLabeller
    retry: Retry | None = None
    """Only the rejects of this order are labelled, again."""
    watcher: Callable[[dict[str, dict]], None] = lambda counts: None
    """Is given what each stage has done (`Tally.counts`) about once a second."""

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
            "mirror": self.mirror,
            **asdict(self.crops),
        }

    def pending(self) -> pa.Table:
        """The manifest's rows that are still to be labelled."""
        return (self.retry or distillation_set).pending(self.manifest, self.labels_uri)

    def teacher_crops(self) -> CropRule:
        return load_teacher(self.teacher.name, self.teacher.data, self.teacher.description).crop_rule


def label(
    run: LabelRun, plan: LabelPlan, address: str | None, record: RunRecord, retry_reasons: tuple[str, ...] = ()
) -> dict:
    """Labels what is not labelled yet and audits the whole set. Returns rows, labelled, rejected, reasons.

    retry_reasons: labels the rejects of these reasons again and nothing else; also returns retried and now_labelled. The
    limits of the decoder may then be others than before. Raises UserError where another run writes there.
    """
    with lease(run.labels_uri) as held:
        claim(run.labels_uri, run.identity(), may_change=LIMITS if retry_reasons else ())
        distillation_set.drop_doubles(run.manifest, run.labels_uri)
        if retry_reasons:
            run = replace(run, retry=begin_retry(run.manifest, run.labels_uri, retry_reasons))
        todo = run.pending()
        log.info("%d of %d utterances are to be labelled", len(todo), len(run.manifest))
        if len(todo):
            with session(address):
                for _ in _run_tasks(run, plan, todo, record, held.proof):
                    held.check()
        held.confirm()
        distillation_set.drop_doubles(run.manifest, run.labels_uri)
        counts = distillation_set.audit(run.manifest, run.labels_uri)
        return counts | (run.retry.finish(run.labels_uri) if run.retry else {})


def _run_tasks(run: LabelRun, plan: LabelPlan, todo: pa.Table, record: RunRecord, proof: Proof) -> Iterator[dict]:
    """Labels `todo`, with progress; yields the summary of each part. The record gets each stage's rows, seconds of work and
    bytes."""
    tally = start_tally()
    record.counts["embedded"] = is_embedded()

    def counts() -> dict[str, dict]:
        counted = ray.get(tally.counts.remote())
        run.watcher(counted)
        return counted

    started = time.monotonic()
    with progress(len(todo), "label", "utterances") as bar, watched(bar, len(todo), counts):
        for summary in _part_summaries(run, plan, todo, record, tally, proof):
            bar.update(summary["rows"])
            record.counts["worker_rows"] = record.counts.get("worker_rows", 0) + summary["rows"]
            for name in WORK_SECONDS:
                record.counts[f"worker_{name}"] = record.counts.get(f"worker_{name}", 0.0) + summary[name]
            yield summary
    record.counts["stages"] = counts()
    record.stages[WORK] = time.time() - (ray.get(tally.began.remote()) or time.time())
    for line in stage_table(record.counts["stages"], time.monotonic() - started).splitlines():
        log.info("%s", line)


def _part_summaries(
    run: LabelRun, plan: LabelPlan, todo: pa.Table, record: RunRecord, tally: ActorHandle, proof: Proof
) -> Iterator[dict]:
    """The summaries of all parts; where nodes leave for good, with the stages that the others have room for."""
    stages = plan.placed()
    while len(todo):
        try:
            for summary in _execute(run, stages, todo, tally, proof):
                record.stages.setdefault(FIRST_PART, record.seconds())
                yield summary
            return
        except NodesLost as lost:
            log.warning("going on with the nodes that are left: %s", lost)
            stages = plan.placed(at_most=True)
            todo = run.pending()


def _execute(run: LabelRun, stages: list[Stage], todo: pa.Table, tally: ActorHandle, proof: Proof) -> Iterator[dict]:
    """The plan itself; yields the summary of each part when it is on storage."""
    cropping, *teachers = stages  # none of its own where the teacher works in the cropping processes
    cut_from = todo if run.retry else run.manifest  # rejects lie apart: by the manifest, each would be its own part
    crops = run.teacher_crops()
    cut = cut_tasks(cut_from, todo, cropping.workers, part_rows(len(run.manifest), crops.size_bytes))
    tasks = ray.data.from_blocks([packed(utterances, sizes, "zstd") for utterances, sizes in cut])
    # a worker without a task would only start
    cropping = replace(cropping, workers=min(cropping.workers, tasks.num_blocks()))
    tasks.context.target_max_block_size = 1  # a part goes on when it is ready; by default 128 MiB are gathered first
    watch(tasks, [cropping, *teachers])
    to_crop = {
        "cropper": run.cropper,
        "options": run.crops,
        "crops": crops,
        "detector": ray.put(run.detector),
        "device": _device(cropping),
        "tally": tally,
    }
    to_write = {
        "proof": proof,
        "generation": run.retry.generation if run.retry else 0,
        "labeller": functools.partial(run.labeller, flip_tta=run.mirror),
        "teacher": ray.put(run.teacher),
        "device": _device(teachers[0] if teachers else cropping),
        "tally": tally,
    }
    if not teachers:
        both = {"to_crop": to_crop, "to_write": to_write}
        summaries = tasks.map_batches(PartLabeller, fn_constructor_kwargs=both, **_pool(cropping))
    else:
        cropped = tasks.map_batches(PartCropper, fn_constructor_kwargs=to_crop, **_pool(cropping))
        summaries = cropped.map_batches(PartWriter, fn_constructor_kwargs=to_write, **_pool(teachers[0]))
    for batch in summaries.iter_batches(batch_format="pyarrow", batch_size=None):
        yield from batch.to_pylist()


def _device(stage: Stage) -> str:
    return "cuda" if stage.gpus else "cpu"


def _pool(stage: Stage) -> dict:
    """Ray Data arguments of an actor stage: one packed row a call, two tasks waiting at each actor."""
    most = stage.most_workers or stage.workers
    resources = {
        "num_cpus": stage.cpus,
        "num_gpus": stage.gpus or None,
        "memory": stage.memory or None,
        "resources": dict(stage.resources) or None,
    }
    return {
        "batch_format": "pyarrow",
        "batch_size": 1,
        "runtime_env": {"env_vars": HUGE_PAGES},
        "compute": ActorPoolStrategy(
            min_size=stage.workers, max_size=most, initial_size=stage.workers, max_tasks_in_flight_per_actor=2
        ),
        **{name: amount for name, amount in resources.items() if amount is not None},
    }
