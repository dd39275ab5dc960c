"""Trains a face teacher on FER+: in this process, or with Ray Train on any number of DDP workers.

The loop is `modeling.teacher_training.trainer`; here it is given the faces and told where its state goes.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cluster import storage
from cluster.devices import local_device
from cluster.failures import UserError
from cluster.progress import progress
from modeling.faces.ferplus import FaceSet, class_counts, paper_rule
from modeling.teacher_training.networks import new_network, trainable
from modeling.teacher_training.recipes import TeacherRecipe
from modeling.teacher_training.trainer import TeacherTrainer
from pipeline.assets.weights import Weights
from pipeline.teachers.inference import mean_probabilities
from pipeline.training.context import LocalContext
from pipeline.training.run import CheckpointWriter, TrainingPlan, train


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

    def identity(self) -> dict[str, Any]:
        """What decides the teacher; where and how it is computed does not."""
        return {
            "recipe": self.recipe.as_written(),
            "init": self.init and storage.sha256(self.init),
            "soft_teachers": [teacher.fingerprint for teacher in self.soft_teachers],
            "train": self.train.fingerprint,
            "valid": self.valid.fingerprint,
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows, those that the paper's cleaning keeps, and their emotions, for each split."""
        splits = {"train": self.train, "valid": self.valid}
        kept = {split: paper_rule(faces.votes_NV) for split, faces in splits.items()}
        return {
            split: {"rows": len(faces), "kept": int(kept[split].sum()), **class_counts(faces, kept[split])}
            for split, faces in splits.items()
        }


@dataclass(frozen=True, kw_only=True)
class TrainedTeacher:
    """weights: URI of the teacher's file; valid_accuracy: of the epoch whose weights it holds, by the paper's cleaning."""

    weights: str
    valid_accuracy: float
    epochs: int
    history: list[dict[str, Any]]


def train_face_teacher(run: TeacherRun, address: str | None = None) -> TrainedTeacher:
    """Trains until the recipe's last epoch, going on from the last saved state.

    Raises UserError if faces or weights do not fit the recipe, and as `pipeline.training.run.train`.
    """
    _require_trainable(run)
    plan = TrainingPlan(
        name="teacher training",
        output_uri=run.teacher_uri,
        identity=run.identity(),
        epochs=run.recipe.epochs,
        workers=run.workers,
        gpu=run.gpu,
    )

    def prepare() -> TrainingData:
        device = local_device(run.gpu and run.workers == 0)
        return TrainingData(run, mean_probabilities(run.soft_teachers, run.train.images_NHW, device))

    history = train(plan, prepare, _train, address).history
    return TrainedTeacher(
        weights=storage.join(run.teacher_uri, trainable(run.recipe).file_name),
        valid_accuracy=_saved_epoch(history, run.recipe)["valid_accuracy"],
        epochs=len(history),
        history=history,
    )


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


@dataclass(frozen=True)
class TrainingData:
    """What every worker is given. soft_labels_NE: the probabilities of `soft_teachers` for all training faces, if any."""

    run: TeacherRun
    soft_labels_NE: np.ndarray | None


def _train(data: TrainingData, context: LocalContext) -> None:
    """What one worker does: its share of each batch; after every epoch the state goes to the output folder."""
    run = data.run
    trainer = TeacherTrainer(
        run.recipe,
        run.train,
        run.valid,
        context.process(run.gpu),
        init=run.init,
        compiled=run.compiled,
        soft_labels_NE=data.soft_labels_NE,
    )
    checkpoints = CheckpointWriter(trainer, context)
    with progress(run.recipe.epochs, "train teacher", "epochs", trainer.epoch) as bar:
        while trainer.epoch < run.recipe.epochs:
            metrics = asdict(trainer.run_epoch())
            bar.set_postfix_str(f"valid accuracy {metrics['valid_accuracy']:.4f}")
            bar.update(1)
            checkpoints.record(metrics)
            if context.rank == 0 and _saved_epoch(checkpoints.history, run.recipe) is metrics:
                checkpoints.keep_best(trainer.file(_meta(run, metrics)))
            checkpoints.save({trainable(run.recipe).file_name: checkpoints.best})


def _saved_epoch(history: list[dict[str, Any]], recipe: TeacherRecipe) -> dict[str, Any]:
    """The epoch whose weights are the teacher: the last, or the first of the best."""
    return max(history, key=lambda metrics: metrics["valid_accuracy"]) if recipe.keep_best else history[-1]


def _meta(run: TeacherRun, metrics: dict[str, Any]) -> dict[str, Any]:
    return {**run.identity(), "epoch": metrics["epoch"], "valid_accuracy": metrics["valid_accuracy"]}


def _kept(faces: FaceSet) -> int:
    return int(paper_rule(faces.votes_NV).sum())
