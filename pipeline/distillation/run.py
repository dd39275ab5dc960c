"""Trains the student on a distillation set: in this process, or with Ray Train on any number of DDP workers.

The loop is `modeling.distillation.trainer`; this module gives it its batches and saves its state.

OUT/student.safetensors       the student after the last epoch, which other jobs load
OUT/student_best.safetensors  the student of the epoch with the best mean AUC on the split `val`; the last one if that
                              split gives no AUC
OUT/training_state.pt         what training continues from, written after every epoch
OUT/tensorboard               curves
"""

import contextlib
import io
import logging
import time
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from cluster import storage
from cluster.budget import GIB
from cluster.failures import UserError
from cluster.identity import read_identity
from cluster.progress import progress
from modeling.distillation.baseline import PRIOR_UTTERANCES, SpeakerBaseline
from modeling.distillation.recipes import StudentRecipe
from modeling.distillation.trainer import StudentTrainer
from modeling.students.build import build_student
from modeling.students.checkpoint import save_student
from modeling.students.prior import soft_prior
from pipeline.distillation.batches import LabelIndex, RankShare, RowLocations, window_batches
from pipeline.distillation.curves import Pace, write_curves
from pipeline.distillation.speech_memory import KEPT_GIB, SAMPLE_BYTES
from pipeline.distillation.validation import NOT_SCORED, ValidationSet
from pipeline.distillation.windows import WindowSampling
from pipeline.students.files import BEST_FILE, STUDENT_FILE
from pipeline.training.context import LocalContext
from pipeline.training.run import CheckpointWriter, TrainingPlan, train

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DistillRun:
    """One distillation: labels in, student out.

    min_workers: train with as few as this many while the cluster has no room for `workers`; None: always with `workers`.
    front_end_uri: file of an ssl student's frozen network; None for other students.
    speech_memory_gib: decoded speech that each worker keeps. speaker_baseline: learn from labels without the speakers' resting
    faces. ambiguous: learn also from utterances in which another face was nearly as prominent as the labelled one.
    """

    labels_uri: str
    student_uri: str
    recipe: StudentRecipe
    workers: int = 0
    min_workers: int | None = None
    gpu: bool = False
    front_end_uri: str | None = None
    speech_memory_gib: float = KEPT_GIB
    speaker_baseline: bool = False
    ambiguous: bool = False

    def front_end(self) -> bytes | None:
        return storage.read_bytes(self.front_end_uri) if self.front_end_uri else None

    def identity(self) -> dict:
        """What determines the student; the number of workers does not."""
        identity = {"labels": read_identity(self.labels_uri), "recipe": self.recipe.as_written()}
        if self.speaker_baseline:
            identity["speaker_baseline"] = {"prior_utterances": PRIOR_UTTERANCES}
        front_end = self.front_end()
        return identity | ({"front_end": storage.sha256(front_end)} if front_end else {})


@dataclass(frozen=True)
class TrainingData:
    """What every worker knows: the run, where its training utterances lie, what scores the student, and what is taken off the
    labels, if anything."""

    run: DistillRun
    places: RowLocations
    validation: ValidationSet
    baseline: SpeakerBaseline | None


@dataclass(frozen=True, kw_only=True)
class TrainedStudent:
    """What a finished distillation wrote and measured; utterances and speakers count the training data.

    ambiguous: utterances left out because another face was nearly as prominent. val_mean_auc: scored epoch -> AUC, or None if
    the split `val` gives none.
    prior: of the training set, with the best strength for removing it from the answers.
    """

    checkpoint: str
    best_checkpoint: str
    best_epoch: int
    steps: int
    loss: float
    utterances: int
    ambiguous: int
    speakers: int
    val_utterances: int
    val_mean_auc: dict[int, float | None]
    prior: list[float]
    prior_strength: float
    history: list[dict[str, Any]]


def distill_student(run: DistillRun, address: str | None = None) -> TrainedStudent:
    """Trains from the last saved state until the recipe's last epoch.

    Raises UserError if the set, the front end or the number of workers does not fit, and as `pipeline.training.run.train`
    does.
    """
    index = LabelIndex(run.labels_uri, speaker_baseline=run.speaker_baseline, ambiguous=run.ambiguous)
    rows = index.training()
    require_shares(run.recipe, len(rows), max(1, run.workers))
    _require_student(run)
    prior_E = soft_prior(rows["logits"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1))
    data = TrainingData(run, index.places(rows), ValidationSet(index, prior_E), index.baseline)
    plan = TrainingPlan(
        name="student training",
        output_uri=run.student_uri,
        identity=run.identity() | {"utterances": index.fingerprint()},
        epochs=run.recipe.epochs,
        workers=run.workers,
        min_workers=run.min_workers,
        gpu=run.gpu,
    )

    def prepare() -> TrainingData:
        _warn_missing(run, rows)
        if left_out := index.left_out():
            log.info(
                "%d of %d utterances are left out, since another face was nearly as prominent as the labelled one (--ambiguous)",
                left_out,
                left_out + len(rows),
            )
        return data

    history = train(plan, prepare, _train, address).history
    # in case an earlier run was stopped between its last state and its curves
    write_curves(run.student_uri, history)
    last = history[-1]
    return TrainedStudent(
        checkpoint=storage.join(run.student_uri, STUDENT_FILE),
        best_checkpoint=storage.join(run.student_uri, BEST_FILE),
        best_epoch=best_epoch(history),
        steps=last["step"],
        loss=last["loss"],
        utterances=len(rows),
        ambiguous=index.left_out(),
        speakers=len(pc.unique(rows["speaker_id"])),
        val_utterances=len(data.validation),
        val_mean_auc={metrics["epoch"]: metrics["val_mean_auc"] for metrics in history if metrics["scored"]},
        prior=prior_E.tolist(),
        prior_strength=last["prior_strength"],
        history=history,
    )


def _warn_missing(run: DistillRun, rows: pa.Table) -> None:
    """Logs a line if the set is not complete, and one if its speech does not fit into memory, which makes epochs slower."""
    if not storage.exists(storage.join(run.labels_uri, "run.json")):
        log.warning(
            "%s: its labelling has not ended (no run.json is there); this student learns from the %d utterances that are there "
            "now, and cannot continue with more",
            run.labels_uri,
            len(rows),
        )
    speech_gib = SAMPLE_BYTES * pc.sum(rows["speech_samples"]).as_py() / GIB
    if speech_gib > run.speech_memory_gib:
        log.info(
            "decoded, the training speech has %.1f GiB; each worker keeps %.3g GiB of it, and the rest is decoded anew in every "
            "pass (--speech-memory-gib)",
            speech_gib,
            run.speech_memory_gib,
        )


def best_epoch(history: list[dict[str, Any]]) -> int:
    """The first epoch with the best mean AUC on the split `val`; the last epoch if there is no AUC."""
    scored = [metrics for metrics in history if metrics["val_mean_auc"] is not None]
    return max(scored, key=lambda metrics: metrics["val_mean_auc"], default=history[-1])["epoch"]


def require_shares(recipe: StudentRecipe, utterances: int, workers: int) -> None:
    """Raises UserError if a worker would get a single window of a batch, which batch normalisation cannot use."""
    batch = _batch_utterances(recipe, utterances)
    if batch // workers * recipe.windows_per_utterance < 2:
        raise UserError(
            f"{utterances} training utterances in batches of {recipe.batch_size} windows ({recipe.windows_per_utterance} "
            f"an utterance) are too few for {workers} workers of two windows each; label more, or use fewer workers"
        )


def _require_student(run: DistillRun) -> None:
    """Raises UserError if the front end's file is missing, wrong, or given to a student without one."""
    with torch.random.fork_rng(devices=[]):
        try:
            build_student(run.recipe.student, run.front_end())
        except ValueError as error:
            raise UserError(f"--front-end: {error}") from error


def _batch_utterances(recipe: StudentRecipe, utterances: int) -> int:
    """Utterances per batch over all workers; a set smaller than a batch is used whole."""
    return min(utterances, max(1, recipe.batch_size // recipe.windows_per_utterance))


def _train(data: TrainingData, context: LocalContext) -> None:
    """Runs on each worker: trains on its share of each batch and saves the state after every epoch."""
    run, recipe, utterances = data.run, data.run.recipe, len(data.places)
    share = RankShare(batch=_batch_utterances(recipe, utterances), rank=context.rank, world_size=context.world_size)
    trainer = StudentTrainer(recipe, context.process(run.gpu), weight=share.weight, front_end=run.front_end())
    checkpoints = CheckpointWriter(trainer, context)
    draw = WindowSampling(
        windows=recipe.windows_per_utterance, pooling=recipe.target_pooling, seed=recipe.seed, padding=recipe.padding
    )
    batches = window_batches(
        data.places,
        draw,
        share,
        first_batch=trainer.step,
        kept_gib=run.speech_memory_gib,
        baseline=data.baseline,
    )
    steps, every = recipe.steps_per_epoch(utterances), data.validation.evaluate_every(recipe, utterances)
    with progress(recipe.epochs * steps, "distill", "steps", trainer.step) as bar, contextlib.closing(batches):
        pace = Pace((recipe.epochs - trainer.epoch) * steps, after_step=bar.update)
        while trainer.epoch < recipe.epochs:
            metrics = asdict(trainer.run_epoch(pace.watch(islice(batches, steps)), trainer.epoch))
            bar.set_postfix_str(f"epoch {trainer.epoch}/{recipe.epochs}, loss {metrics['loss']:.4f}")
            if context.rank == 0:
                scored = trainer.epoch % every == 0 or trainer.epoch == recipe.epochs
                metrics |= _throughput(metrics, share) | _scores(data, trainer, checkpoints.history, scored)
            checkpoints.record(metrics)
            checkpoints.save(_student_files(data, trainer, checkpoints) if context.rank == 0 else {})
            if context.rank == 0:
                write_curves(run.student_uri, checkpoints.history)


def _throughput(metrics: dict[str, Any], share: RankShare) -> dict[str, Any]:
    """Throughput of all workers together, from the counts of one of them in an epoch."""
    seconds = metrics["data_wait_s"] + metrics["compute_s"]
    return {
        "windows_per_s": metrics["windows"] * share.batch / share.rows / seconds,
        "data_wait": metrics["data_wait_s"] / seconds,
        "workers": share.world_size,
    }


def _scores(data: TrainingData, trainer: StudentTrainer, history: list[dict[str, Any]], scored: bool) -> dict[str, Any]:
    """Scores on the split `val`. An epoch that is not scored only gets the prior strength, from the epoch before."""
    strength = history[-1]["prior_strength"] if history else 1.0
    found = {**NOT_SCORED, "prior_strength": strength, "scored": scored}
    return found | (data.validation.score(trainer.student) if scored else {}) | {"time": time.time()}


def _student_files(data: TrainingData, trainer: StudentTrainer, checkpoints: CheckpointWriter) -> dict[str, bytes]:
    """Files of the last epoch's student and of the best epoch's student."""
    metrics = checkpoints.history[-1]
    meta = {"epochs": metrics["epoch"], "steps": metrics["step"], "loss": metrics["loss"]}
    meta |= {name: metrics[name] for name in ("val_mean_auc", "prior_strength")}
    meta |= {"prior": data.validation.prior_E.tolist(), **data.run.identity()}
    file = io.BytesIO()
    save_student(trainer.student, file, meta)
    if best_epoch(checkpoints.history) == metrics["epoch"]:
        checkpoints.keep_best(file.getvalue())
    return {STUDENT_FILE: file.getvalue(), BEST_FILE: checkpoints.best}
