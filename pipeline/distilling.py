"""Trains the student on a distillation set: in this process, or with Ray Train on any number of DDP workers.

The loop is `modeling.student_training`; here it is given its batches and told where its state goes.
"""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice

import ray.train
import torch

from cluster import storage
from cluster.failures import UserError
from cluster.identity import claim, read_identity
from cluster.progress import progress
from cluster.session import session
from modeling.recipes import StudentRecipe
from modeling.student_checkpoint import save_student
from modeling.student_training import StudentTrainer
from pipeline.devices import local_device
from pipeline.training_home import STATE_FILE, OutputFolder, RayWorker, Workers, train_on_workers
from pipeline.training_set import WINDOW_COLUMNS, WindowDraw, labelled_utterances, usable_rows, window_batches

STUDENT_FILE = "student.safetensors"
IN_MEMORY_UTTERANCES = 1000
"""Up to so many utterances (about 150 MB of FLAC) the rows stay in Ray's object store between passes; a larger set is
streamed from storage in each. Starting a pass over storage costs a second or two, which a small set feels."""


@dataclass(frozen=True, kw_only=True)
class DistillRun:
    """One distillation: labels in, student out."""

    labels_uri: str
    student_uri: str
    recipe: StudentRecipe
    workers: int = 0
    gpu: bool = False

    def identity(self) -> dict:
        """What decides the student; the number of workers does not."""
        return {"labels": read_identity(self.labels_uri), "recipe": asdict(self.recipe)}


def distill(run: DistillRun, address: str | None) -> dict:
    """Trains until the recipe's last epoch, going on from the last saved state. Returns checkpoint, steps, loss, curve."""
    identity = run.identity()
    utterances = usable_rows(run.labels_uri, "train")
    require_shares(run.recipe, utterances, max(1, run.workers))
    if run.workers == 0:
        local_device(run.gpu)
    claim(run.student_uri, identity)
    state = OutputFolder(run.student_uri).load()
    if state is None or state["trainer"]["epoch"] < run.recipe.epochs:
        _train_somewhere(run, utterances, address)
        state = OutputFolder(run.student_uri).load()
    return {
        "checkpoint": storage.join(run.student_uri, STUDENT_FILE),
        "steps": state["trainer"]["step"],
        "loss": state["curve"][-1]["loss"],
        "utterances": utterances,
        "curve": state["curve"],
    }


def _train_somewhere(run: DistillRun, utterances: int, address: str | None) -> None:
    with session(address):
        ray.data.DataContext.get_current().execution_options.preserve_order = True  # a resumed run sees the same order
        rows = labelled_utterances(run.labels_uri, "train", WINDOW_COLUMNS, seed=run.recipe.seed)
        if utterances <= IN_MEMORY_UTTERANCES:
            rows = rows.materialize()
        config = {"run": run, "utterances": utterances}
        if run.workers == 0:
            _train(config, rows.iterator(), OutputFolder(run.student_uri))
        else:
            train_on_workers(
                "student training",
                lambda worker: _train(config, ray.train.get_dataset_shard("train"), worker),
                run.student_uri,
                Workers(number=run.workers, gpu=run.gpu),
                datasets={"train": rows},
            )


def _train(config: dict, rows: ray.data.DataIterator, home: OutputFolder | RayWorker) -> None:
    """One worker's part: its share of each batch, and after every epoch the state goes home."""
    run: DistillRun = config["run"]
    recipe = run.recipe
    trainer = StudentTrainer(recipe, device=home.device(run.gpu), world_size=home.world_size, wrap=home.wrap)
    state = home.load()
    curve: list[dict] = []
    if state is not None:
        trainer.load_state(state["trainer"])
        curve = state["curve"]
    batches = _batches(rows, recipe, config["utterances"], home.world_size, trainer.step)
    steps = recipe.steps_per_epoch(config["utterances"])
    with progress(recipe.epochs, "distill", "epochs", trainer.epoch) as bar, contextlib.closing(batches):
        while trainer.epoch < recipe.epochs:
            metrics = trainer.run_epoch(islice(batches, steps), trainer.epoch)
            curve.append(metrics)
            bar.set_postfix_str(f"loss {metrics['loss']:.4f}")
            bar.update(1)
            home.save(_files(trainer, curve, run) if home.rank == 0 else {}, metrics)


def require_shares(recipe: StudentRecipe, utterances: int, workers: int) -> None:
    """Raises UserError where the workers could not make equal steps of full batches."""
    share = recipe.batch_size // workers
    if share * workers != recipe.batch_size or share < recipe.windows_per_utterance:
        raise UserError(
            f"a batch of {recipe.batch_size} windows ({recipe.windows_per_utterance} an utterance) cannot be shared by "
            f"{workers} workers; use a number that divides {recipe.batch_size // recipe.windows_per_utterance}"
        )
    own = utterances // workers
    too_few = own < share // recipe.windows_per_utterance if workers > 1 else own * recipe.windows_per_utterance < 2
    if too_few:
        raise UserError(
            f"{utterances} training utterances are too few for {workers} workers and batches of {recipe.batch_size}; "
            "label more, or train with --workers 0 and a recipe that draws several windows an utterance (compact)"
        )


def _batches(
    rows: ray.data.DataIterator, recipe: StudentRecipe, utterances: int, world_size: int, steps_done: int
) -> Iterator[dict[str, torch.Tensor]]:
    """This worker's share of the batches: full ones, so that all workers make equal steps and the batch norm of no
    step sees a single window. Only a set smaller than one batch is used as it is, by one worker."""
    share, own = recipe.batch_size // world_size, utterances // world_size
    has_full_batch = own >= share // recipe.windows_per_utterance
    draw = WindowDraw(windows=recipe.windows_per_utterance, pooling=recipe.target_pooling, seed=recipe.seed)
    return window_batches(rows, draw, share, own, drop_last=has_full_batch, first_batch=steps_done)


def _files(trainer: StudentTrainer, curve: list[dict], run: DistillRun) -> dict[str, bytes]:
    """The student as users load it, and the state that training goes on from."""
    student, state = io.BytesIO(), io.BytesIO()
    meta = {"epochs": trainer.epoch, "steps": trainer.step, "loss": curve[-1]["loss"], **run.identity()}
    save_student(trainer.student, student, meta)
    torch.save({"trainer": trainer.state(), "curve": curve}, state)
    return {STUDENT_FILE: student.getvalue(), STATE_FILE: state.getvalue()}
