"""Fits a face teacher to FER+: in this process, or with Ray Train on any number of DDP workers.

The loop is `modeling.teacher_training.trainer`; here it is given the faces and told where its state goes.
"""

import io
from dataclasses import asdict, dataclass

import numpy as np
import ray
import torch

from cluster import storage
from cluster.devices import local_device
from cluster.failures import UserError
from cluster.identity import claim
from cluster.progress import progress
from cluster.session import session
from modeling.faces.ferplus import FaceSet, class_counts, paper_rule
from modeling.teacher_training.recipes import TeacherRecipe
from modeling.teacher_training.trainer import TEACHER_FILES, TeacherTrainer, new_network
from pipeline.assets.weights import Weights
from pipeline.teachers.inference import mean_probabilities
from pipeline.training.context import STATE_FILE, LocalContext, RayTrainContext
from pipeline.training.ray_workers import Workers, train_on_workers


@dataclass(frozen=True, kw_only=True)
class TeacherRun:
    """One training: faces in, teacher out.

    init: weights that the network starts from. soft_teachers: trained teachers whose probabilities are part of the targets.
    """

    train: FaceSet
    valid: FaceSet
    teacher_uri: str
    recipe: TeacherRecipe
    init: bytes | None = None
    soft_teachers: tuple[Weights, ...] = ()
    workers: int = 0
    gpu: bool = False
    compiled: bool = False

    def identity(self) -> dict:
        """What decides the teacher; where and how it is computed does not."""
        return {
            "recipe": self.recipe.as_written(),
            "init": self.init and storage.sha256(self.init),
            "soft_teachers": [teacher.fingerprint for teacher in self.soft_teachers],
            "train": self.train.fingerprint,
            "valid": self.valid.fingerprint,
        }

    def counts(self) -> dict:
        """Rows, those that the paper's cleaning keeps, and their emotions, for each split."""
        splits = {"train": self.train, "valid": self.valid}
        kept = {split: paper_rule(faces.votes_NV) for split, faces in splits.items()}
        return {
            split: {"rows": len(faces), "kept": int(kept[split].sum()), **class_counts(faces, kept[split])}
            for split, faces in splits.items()
        }


def fit_teacher(run: TeacherRun, address: str | None) -> dict:
    """Trains until the recipe's last epoch, going on from the last saved state. Returns weights, valid_accuracy, curve."""
    _require_trainable(run)
    claim(run.teacher_uri, run.identity())
    context = LocalContext(run.teacher_uri)
    state = context.load()
    if state is None or state["trainer"]["epoch"] < run.recipe.epochs:
        device = local_device(run.gpu and run.workers == 0)
        soft_labels_NE = mean_probabilities(run.soft_teachers, run.train.images_NHW, device)
        if run.workers == 0:
            _train_here(run, soft_labels_NE, context)
        else:
            _train_with_ray(run, soft_labels_NE, address)
        state = context.load()
    return {
        "weights": storage.join(run.teacher_uri, TEACHER_FILES[run.recipe.network]),
        "valid_accuracy": _saved_epoch(state["curve"], run.recipe)["valid_accuracy"],
        "epochs": len(state["curve"]),
        "curve": state["curve"],
    }


def _require_trainable(run: TeacherRun) -> None:
    """Raises UserError before anything is written."""
    if run.recipe.batch_size % max(1, run.workers):
        raise UserError(f"a batch of {run.recipe.batch_size} faces cannot be shared by {run.workers} workers equally")
    if not 0 < _kept(run.valid) or _kept(run.train) < run.recipe.batch_size:
        raise UserError(
            f"the paper's cleaning keeps {_kept(run.train)} training and {_kept(run.valid)} validation faces; a batch of "
            f"{run.recipe.batch_size} and one are needed. Give more of FER+"
        )
    try:
        new_network(run.recipe, run.init)
    except ValueError as error:
        raise UserError(f"--init: {error}") from error
    if run.workers == 0:
        local_device(run.gpu)


def _train_here(run: TeacherRun, soft_labels_NE: np.ndarray | None, context: LocalContext) -> None:
    try:
        _train(run, soft_labels_NE, context)
    except FloatingPointError as error:
        raise UserError(str(error)) from error


def _train_with_ray(run: TeacherRun, soft_labels_NE: np.ndarray | None, address: str | None) -> None:
    with session(address):
        shared = ray.put((run, soft_labels_NE))  # the faces go to each node once
        workers = Workers(number=run.workers, gpu=run.gpu)
        train_on_workers("teacher training", lambda worker: _train(*ray.get(shared), worker), run.teacher_uri, workers)


def _train(run: TeacherRun, soft_labels_NE: np.ndarray | None, context: LocalContext | RayTrainContext) -> None:
    """One worker's part: its share of each batch, and after every epoch the state goes context."""
    trainer = TeacherTrainer(
        run.recipe,
        run.train,
        run.valid,
        context.process(run.gpu),
        init=run.init,
        compiled=run.compiled,
        soft_labels_NE=soft_labels_NE,
    )
    curve: list[dict] = []
    best = torch.empty(0, dtype=torch.uint8)
    if (state := context.load()) is not None:
        trainer.load_state(state["trainer"])
        curve, best = state["curve"], state["best"]
    with progress(run.recipe.epochs, "train teacher", "epochs", trainer.epoch) as bar:
        while trainer.epoch < run.recipe.epochs:
            metrics = asdict(trainer.run_epoch())
            curve.append(metrics)
            if context.rank == 0 and _saved_epoch(curve, run.recipe) is metrics:
                best = torch.frombuffer(bytearray(trainer.file(_meta(run, metrics))), dtype=torch.uint8)
            bar.set_postfix_str(f"valid accuracy {metrics['valid_accuracy']:.4f}")
            bar.update(1)
            context.save(_files(run, trainer, curve, best) if context.rank == 0 else {}, metrics)


def _files(run: TeacherRun, trainer: TeacherTrainer, curve: list[dict], best: torch.Tensor) -> dict[str, bytes]:
    """The teacher as users load it, and the state that training goes on from."""
    state = io.BytesIO()
    torch.save({"trainer": trainer.state(), "curve": curve, "best": best}, state)
    return {TEACHER_FILES[run.recipe.network]: best.numpy().tobytes(), STATE_FILE: state.getvalue()}


def _saved_epoch(curve: list[dict], recipe: TeacherRecipe) -> dict:
    """The epoch whose weights are the teacher: the last, or the first of the best."""
    return max(curve, key=lambda metrics: metrics["valid_accuracy"]) if recipe.keep_best else curve[-1]


def _meta(run: TeacherRun, metrics: dict) -> dict:
    return {**run.identity(), "epoch": metrics["epoch"], "valid_accuracy": metrics["valid_accuracy"]}


def _kept(faces: FaceSet) -> int:
    return int(paper_rule(faces.votes_NV).sum())
