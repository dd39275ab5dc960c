"""Composes videos -> distillation set as one Ray Data plan, in the order a video travels.

tasks of the manifest -> actors that decode, detect, track and crop -> the teacher, then the part goes to storage -> one
summary row a part, which is all that comes back to the driver. On CPUs the teacher works where the crops are made, so that
it grows with the cores; on GPUs, or on nodes of its own, it is a second pool of actors.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import pyarrow as pa
import ray

from cluster.actor_pools import actor_pool
from cluster.budget import Stage
from cluster.huge_pages import HUGE_PAGES
from cluster.identity import claim
from cluster.lease import Proof, lease
from cluster.progress import progress
from cluster.run_record import RunRecord
from cluster.session import is_embedded, session
from cluster.tally import Counts, start_tally
from modeling.teachers.base import CropRule
from modeling.teachers.load import load_teacher
from pipeline.assets.weights import Weights
from pipeline.dataset import distillation_set, set_record
from pipeline.dataset.distillation_set import SetCounts
from pipeline.dataset.parts import part_rows
from pipeline.dataset.verification import require_unchanged
from pipeline.labelling import retry_rejects
from pipeline.labelling.crop_options import CropOptions
from pipeline.labelling.cropper import FaceCropper
from pipeline.labelling.labeller import TeacherLabeller
from pipeline.labelling.node_watch import NodesLost, watch
from pipeline.labelling.operators import Cropper, Labeller, PartCropper, PartLabeller, PartSummary, PartWriter
from pipeline.labelling.placement import LabelPlan
from pipeline.labelling.record_stages import FIRST_PART, WORK
from pipeline.labelling.retry_rejects import Retry, RetryCounts
from pipeline.labelling.set_request import SetRequest
from pipeline.labelling.stage_progress import stage_table, watched
from pipeline.labelling.tasks import cut_tasks, packed
from pipeline.rejects import suspicion

LIMITS = ("deadline",)
"""Options of the identity that change no label, only which utterances get one; a retry may change them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LabelRequest(SetRequest):
    """What is to be labelled: what goes in, where it goes out and with which networks."""

    teacher: Weights
    detector: Weights
    crop_options: CropOptions = field(default_factory=CropOptions)
    mirror: bool = False
    cropper: Callable[..., Cropper] = FaceCropper
    labeller: Callable[..., Labeller] = TeacherLabeller

    @functools.cached_property
    def crop_rule(self) -> CropRule:
        """The crops that the teacher wants, for which its network has to be loaded."""
        return load_teacher(self.teacher.name, self.teacher.data, self.teacher.description).crop_rule

    def own_identity(self) -> dict[str, Any]:
        return {
            "teacher": self.teacher.fingerprint,
            "detector": self.detector.fingerprint,
            "teacher_crops": asdict(self.crop_rule),
            "teacher_description": self.teacher.description.decode() or None,
            "aggregation": "max",
            "mirror": self.mirror,
            **asdict(self.crop_options),
        }

    @property
    def crop_bytes(self) -> int:
        return self.crop_rule.size_bytes

    def to_crop(self) -> dict[str, Any]:
        return {
            "cropper": self.cropper,
            "options": self.crop_options,
            "crop_rule": self.crop_rule,
            "detector": ray.put(self.detector),
        }

    def to_label(self) -> dict[str, Any]:
        return {
            "labeller": functools.partial(self.labeller, flip_tta=self.mirror),
            "teacher": ray.put(self.teacher),
        }


@dataclass(frozen=True)
class LabelResult:
    """What the whole set holds after a run, and what became of the rejects that were tried again, if some were."""

    whole_set: SetCounts
    retry: RetryCounts | None = None

    def facts(self) -> dict[str, Any]:
        """As users read it: rows, labelled, rejected, reasons, unforeseen if there are any; after a retry also retried and
        now_labelled."""
        facts = asdict(self.whole_set)
        if not self.whole_set.unforeseen:
            del facts["unforeseen"]
        return facts | (asdict(self.retry) if self.retry else {})


def label(request: SetRequest, plan: LabelPlan, *, address: str | None, record: RunRecord) -> LabelResult:
    """Labels what is not labelled yet, or the rejects that are asked for, and audits the whole set.

    On a retry the limits of the decoder may be others than before. Raises UserError where another run writes there.
    """
    manifest, labels_uri = request.manifest, request.labels_uri
    with lease(labels_uri) as held:
        claim(labels_uri, request.identity, may_change=LIMITS if request.retry_reasons else ())
        require_unchanged(manifest, labels_uri)
        distillation_set.drop_doubles(manifest, labels_uri)
        retry = None
        if request.retry_reasons:
            retry = retry_rejects.begin(manifest, labels_uri, request.retry_reasons)
        todo = _pending(request, retry)
        log.info("%d of %d utterances are to be labelled", len(todo), len(manifest))
        if len(todo):
            set_record.delete_record(labels_uri)
            with session(address):
                run = LabellingRun(request, plan, record=record, proof=held.proof, retry=retry)
                for _ in run.summaries(todo):
                    held.check()
        held.confirm()
        distillation_set.drop_doubles(manifest, labels_uri)
        whole_set = distillation_set.audit(manifest, labels_uri)
        if said := suspicion(whole_set.unforeseen, whole_set.rows):
            log.warning("%s", said)
        return LabelResult(whole_set, retry.finish(labels_uri) if retry else None)


def _pending(request: SetRequest, retry: Retry | None) -> pa.Table:
    """The manifest's rows that are still to be labelled."""
    if retry is not None:
        return retry.pending(request.manifest, request.labels_uri)
    return distillation_set.pending(request.manifest, request.labels_uri)


class LabellingRun:
    """One execution on the Ray that is running: its plan, its tally and its record. `retry`: the order whose rejects it
    labels; None: what is missing."""

    def __init__(
        self, request: SetRequest, plan: LabelPlan, *, record: RunRecord, proof: Proof, retry: Retry | None = None
    ):
        self.request = request
        self.plan = plan
        self.record = record
        self.proof = proof
        self.retry = retry
        self.tally = start_tally()

    def summaries(self, todo: pa.Table) -> Iterator[PartSummary]:
        """Labels `todo`, with progress; yields the summary of each part when it is on storage. The record gets each stage's
        rows, seconds of work and bytes."""
        self.record.counts["embedded"] = is_embedded()
        started = time.monotonic()
        worked = PartSummary()
        with progress(len(todo), self.request.does, "utterances") as bar, watched(bar, len(todo), self._watched_counts):
            for summary in self._placed(todo):
                bar.update(summary.rows)
                worked += summary
                self.record.counts |= {f"worker_{name}": value for name, value in asdict(worked).items()}
                yield summary
        counts = self._watched_counts()
        self.record.counts["stages"] = counts
        began = cast("float | None", ray.get(self.tally.began.remote()))
        self.record.stages[WORK] = time.time() - (began or time.time())
        for text in cast("list[str]", ray.get(self.tally.all_told.remote())):
            log.warning("%s", text)
        for line in stage_table(counts, time.monotonic() - started).splitlines():
            log.info("%s", line)

    def _watched_counts(self) -> Counts:
        counts = cast(Counts, ray.get(self.tally.counts.remote()))
        self.request.watcher(counts)
        return counts

    def _placed(self, todo: pa.Table) -> Iterator[PartSummary]:
        """The summaries of all parts; where nodes leave for good, with the stages that the others have room for."""
        stages = self.plan.placed()
        while len(todo):
            try:
                for summary in self._executed(stages, todo):
                    self.record.stages.setdefault(FIRST_PART, self.record.seconds())
                    yield summary
                return
            except NodesLost as lost:
                log.warning("going on with the nodes that are left: %s", lost)
                stages = self.plan.placed(at_most=True)
                todo = _pending(self.request, self.retry)

    def _executed(self, stages: list[Stage], todo: pa.Table) -> Iterator[PartSummary]:
        """The plan itself."""
        cropping, *teachers = stages  # none of its own where the teacher works in the cropping processes
        tasks = self._tasks(todo, cropping.workers)
        # a worker without a task would only start
        cropping = replace(cropping, workers=min(cropping.workers, tasks.num_blocks()))
        watch(tasks, [cropping, *teachers])
        to_crop = self._cropper_arguments(_device(cropping))
        to_write = self._writer_arguments(_device(teachers[0] if teachers else cropping))
        if not teachers:
            both = {"to_crop": to_crop, "to_write": to_write}
            summaries = tasks.map_batches(PartLabeller, fn_constructor_kwargs=both, **_pool(cropping))
        else:
            cropped = tasks.map_batches(PartCropper, fn_constructor_kwargs=to_crop, **_pool(cropping))
            summaries = cropped.map_batches(PartWriter, fn_constructor_kwargs=to_write, **_pool(teachers[0]))
        for batch in cast("Iterable[pa.Table]", summaries.iter_batches(batch_format="pyarrow", batch_size=None)):
            yield from (PartSummary(**row) for row in batch.to_pylist())

    def _tasks(self, todo: pa.Table, workers: int) -> ray.data.Dataset:
        """One packed row a task."""
        manifest = self.request.manifest
        cut_from = todo if self.retry else manifest  # rejects lie apart: by the manifest, each would be its own part
        rows = part_rows(len(manifest), self.request.crop_bytes)
        cut = cut_tasks(cut_from, todo, workers=workers, rows=rows)
        tasks = ray.data.from_blocks(
            [packed(self.request.task_rows(utterances), sizes, "zstd") for utterances, sizes in cut]
        )
        tasks.context.target_max_block_size = (
            1  # a part goes on when it is ready; by default 128 MiB are gathered first
        )
        return tasks

    def _cropper_arguments(self, device: str) -> dict[str, Any]:
        return {**self.request.to_crop(), "device": device, "tally": self.tally}

    def _writer_arguments(self, device: str) -> dict[str, Any]:
        return {
            **self.request.to_label(),
            "proof": self.proof,
            "generation": self.retry.generation if self.retry else 0,
            "device": device,
            "tally": self.tally,
        }


def _device(stage: Stage) -> str:
    return "cuda" if stage.gpus else "cpu"


def _pool(stage: Stage) -> dict[str, Any]:
    """Ray Data arguments of an actor stage: one packed row a call, two tasks waiting at each actor."""
    environment = {"runtime_env": {"env_vars": HUGE_PAGES}}
    return actor_pool(stage, batch_size=1, tasks_in_flight=2) | environment
