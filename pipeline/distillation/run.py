"""Trains the student on a distillation set: in this process, or with Ray Train on any number of DDP workers.

The loop is `modeling.distillation.trainer`; here it is given its batches and told where its state goes.

OUT/student.safetensors       the student after the last epoch: what other jobs load
OUT/student_best.safetensors  the student of the epoch with the best mean AUC on the split `val`; the last one where
                              that split gives no AUC
OUT/training_state.pt         what training goes on from, written after every epoch
OUT/tensorboard               curves
"""

import contextlib
import io
import logging
import time
from dataclasses import asdict, dataclass
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
import torch

from cluster import storage
from cluster.budget import GIB
from cluster.devices import local_device
from cluster.failures import UserError
from cluster.identity import claim, read_identity
from cluster.lease import lease
from cluster.progress import progress
from cluster.session import session
from modeling.distillation.recipes import StudentRecipe
from modeling.distillation.trainer import StudentTrainer
from modeling.students.build import build_student
from modeling.students.checkpoint import save_student
from modeling.students.prior import soft_prior
from pipeline.distillation.batches import LabelIndex, RankShare, RowLocations, window_batches
from pipeline.distillation.curves import Pace, write_curves
from pipeline.distillation.validation import NOT_SCORED, ValidationSet
from pipeline.distillation.windows import KEPT_GIB, SAMPLE_BYTES, WindowSampling
from pipeline.training.context import STATE_FILE, LocalContext
from pipeline.training.ray_workers import Workers, train_on_workers

STUDENT_FILE = "student.safetensors"
BEST_FILE = "student_best.safetensors"

log = logging.getLogger("emovox")


@dataclass(frozen=True, kw_only=True)
class DistillRun:
    """One distillation: labels in, student out.

    min_workers: train with as few as these while the cluster has no room for `workers`; None: with `workers`, or not.
    front_end_uri: file of the frozen network under an ssl student; None for other students.
    speech_memory_gib: of decoded speech that each worker keeps.
    """

    labels_uri: str
    student_uri: str
    recipe: StudentRecipe
    workers: int = 0
    min_workers: int | None = None
    gpu: bool = False
    front_end_uri: str | None = None
    speech_memory_gib: float = KEPT_GIB

    def front_end(self) -> bytes | None:
        return storage.read_bytes(self.front_end_uri) if self.front_end_uri else None

    def identity(self) -> dict:
        """What decides the student; the number of workers does not."""
        identity = {"labels": read_identity(self.labels_uri), "recipe": self.recipe.as_written()}
        front_end = self.front_end()
        return identity | ({"front_end": storage.sha256(front_end)} if front_end else {})


@dataclass(frozen=True)
class TrainingData:
    """What every worker knows of the set: where its training utterances lie, and what scores the student."""

    places: RowLocations
    held_out: ValidationSet


def distill(run: DistillRun, address: str | None) -> dict:
    """Trains until the recipe's last epoch, going on from the last saved state.

    Raises UserError if another run trains into the same folder.

    Returns checkpoint, best_checkpoint, best_epoch, steps, loss, utterances, speakers, val_utterances, val_mean_auc
    (epoch -> AUC or None), prior, prior_strength, curve.
    """
    identity = run.identity()
    index = LabelIndex(run.labels_uri)
    rows = index.training()
    require_shares(run.recipe, len(rows), max(1, run.workers))
    _require_student(run)
    if run.workers == 0:
        local_device(run.gpu)
    claim(run.student_uri, identity | {"utterances": index.fingerprint()})
    _warn_missing(run, rows)
    prior_E = soft_prior(rows["logits"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1))
    data = TrainingData(index.places(rows), ValidationSet(index, prior_E))
    with lease(run.student_uri):
        curve = _full_history(run, data, address)
    return {
        "checkpoint": storage.join(run.student_uri, STUDENT_FILE),
        "best_checkpoint": storage.join(run.student_uri, BEST_FILE),
        "best_epoch": best_epoch(curve),
        "steps": curve[-1]["step"],
        "loss": curve[-1]["loss"],
        "utterances": len(rows),
        "speakers": len(pc.unique(rows["speaker_id"])),
        "val_utterances": len(data.held_out),
        "val_mean_auc": {metrics["epoch"]: metrics["val_mean_auc"] for metrics in curve if metrics["scored"]},
        "prior": prior_E.tolist(),
        "prior_strength": curve[-1]["prior_strength"],
        "curve": curve,
    }


def _warn_missing(run: DistillRun, rows: pa.Table) -> None:
    """A line where the set is not whole yet, and one where its speech does not fit into memory, which costs time in every
    epoch."""
    if not storage.exists(storage.join(run.labels_uri, "run.json")):
        log.warning(
            "%s: its labelling has not ended (no run.json is there); this student learns from the %d utterances that are there "
            "now, and cannot go on with more",
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


def _full_history(run: DistillRun, data: TrainingData, address: str | None) -> list[dict]:
    """Trains what is left to train."""
    context = LocalContext(run.student_uri)
    state = context.load()
    if state is None or state["trainer"]["epoch"] < run.recipe.epochs:
        _train_elsewhere(run, data, context, address)
        return context.load()["curve"]
    write_curves(run.student_uri, state["curve"])  # a run stopped between its last state and these has no other chance
    return state["curve"]


def best_epoch(curve: list[dict]) -> int:
    """The first of the epochs with the best mean AUC on the split `val`; the last one where there is no AUC."""
    scored = [metrics for metrics in curve if metrics["val_mean_auc"] is not None]
    return max(scored, key=lambda metrics: metrics["val_mean_auc"], default=curve[-1])["epoch"]


def require_shares(recipe: StudentRecipe, utterances: int, workers: int) -> None:
    """Raises UserError where a worker would get a single window of a batch, which batch normalisation cannot use."""
    batch = _batch_utterances(recipe, utterances)
    if batch // workers * recipe.windows_per_utterance < 2:
        raise UserError(
            f"{utterances} training utterances in batches of {recipe.batch_size} windows ({recipe.windows_per_utterance} "
            f"an utterance) are too few for {workers} workers of two windows each; label more, or use fewer workers"
        )


def _require_student(run: DistillRun) -> None:
    """Raises UserError where the front end's file is missing, another, or not wanted."""
    with torch.random.fork_rng(devices=[]):
        try:
            build_student(run.recipe.student, run.front_end())
        except ValueError as error:
            raise UserError(f"--front-end: {error}") from error


def _batch_utterances(recipe: StudentRecipe, utterances: int) -> int:
    """Utterances of a batch over all workers; a set smaller than a batch is used whole."""
    return min(utterances, max(1, recipe.batch_size // recipe.windows_per_utterance))


def _train_elsewhere(run: DistillRun, data: TrainingData, context: LocalContext, address: str | None) -> None:
    if run.workers == 0:
        try:
            _train(run, data, context)
        except FloatingPointError as error:
            raise UserError(str(error)) from error
        return
    workers = Workers(number=run.workers, gpu=run.gpu, least=run.min_workers)
    with session(address):
        train_on_workers("student training", lambda worker: _train(run, data, worker), run.student_uri, workers)


def _train(run: DistillRun, data: TrainingData, context: LocalContext) -> None:
    """One worker's part: its share of each batch, and after every epoch the state goes context."""
    recipe = run.recipe
    share = RankShare(
        batch=_batch_utterances(recipe, len(data.places)), rank=context.rank, world_size=context.world_size
    )
    trainer = StudentTrainer(recipe, context.process(run.gpu), weight=share.weight, front_end=run.front_end())
    progressed = Progress(run, data.held_out, trainer)
    if (state := context.load()) is not None:
        trainer.load_state(state["trainer"])
        progressed.curve, progressed.best = state["curve"], state["best"]
    draw = WindowSampling(
        windows=recipe.windows_per_utterance, pooling=recipe.target_pooling, seed=recipe.seed, padding=recipe.padding
    )
    batches = window_batches(data.places, draw, share, trainer.step, run.speech_memory_gib)
    steps = recipe.steps_per_epoch(len(data.places))
    every = data.held_out.evaluate_every(recipe, len(data.places))
    with progress(recipe.epochs * steps, "distill", "steps", trainer.step) as bar, contextlib.closing(batches):
        pace = Pace((recipe.epochs - trainer.epoch) * steps, after_step=bar.update)
        while trainer.epoch < recipe.epochs:
            metrics = asdict(trainer.run_epoch(pace.watch(islice(batches, steps)), trainer.epoch))
            scored = trainer.epoch % every == 0 or trainer.epoch == recipe.epochs
            bar.set_postfix_str(f"epoch {trainer.epoch}/{recipe.epochs}, loss {metrics['loss']:.4f}")
            context.save(progressed.files(metrics, share, scored) if context.rank == 0 else {}, metrics)
            if context.rank == 0:
                write_curves(run.student_uri, progressed.curve)


class Progress:
    """What rank 0 keeps beside the trainer: the curve, and the file of the best student so far."""

    def __init__(self, run: DistillRun, held_out: ValidationSet, trainer: StudentTrainer):
        self.identity = run.identity()
        self.held_out = held_out
        self.trainer = trainer
        self.curve: list[dict] = []
        self.best = torch.empty(0, dtype=torch.uint8)

    def files(self, metrics: dict, share: RankShare, scored: bool) -> dict[str, bytes]:
        """Adds what is measured after an epoch to its metrics. Returns the students and the state to go on from."""
        seconds = metrics["data_wait_s"] + metrics["compute_s"]
        metrics["windows_per_s"] = metrics["windows"] * share.batch / share.rows / seconds
        metrics["data_wait"] = metrics["data_wait_s"] / seconds
        metrics["workers"] = share.world_size
        strength = self.curve[-1]["prior_strength"] if self.curve else 1.0
        metrics |= NOT_SCORED | {"prior_strength": strength, "scored": scored}
        if scored:
            metrics |= self.held_out.score(self.trainer.student)
        metrics["time"] = time.time()
        self.curve.append(metrics)
        student = self._student(metrics)
        if best_epoch(self.curve) == metrics["epoch"]:
            self.best = torch.frombuffer(bytearray(student), dtype=torch.uint8)
        state = io.BytesIO()
        torch.save({"trainer": self.trainer.state(), "curve": self.curve, "best": self.best}, state)
        return {STUDENT_FILE: student, BEST_FILE: self.best.numpy().tobytes(), STATE_FILE: state.getvalue()}

    def _student(self, metrics: dict) -> bytes:
        """The student as users load it."""
        meta = {"epochs": metrics["epoch"], "steps": metrics["step"], "loss": metrics["loss"]}
        meta |= {name: metrics[name] for name in ("val_mean_auc", "prior_strength")}
        meta |= {"prior": self.held_out.prior_E.tolist(), **self.identity}
        file = io.BytesIO()
        save_student(self.trainer.student, file, meta)
        return file.getvalue()
