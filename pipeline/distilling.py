"""Trains the student on a distillation set: in this process, or with Ray Train on any number of DDP workers.

The loop is `modeling.student_training`; here it is given its batches and told where its state goes. With workers the
state travels as Ray Train checkpoints, so that a lost worker or node costs the steps since the last one.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from torch import nn

from cluster import storage
from cluster.budget import Stage
from cluster.failures import UserError
from cluster.identity import claim, read_identity
from cluster.progress import progress
from cluster.session import place, session
from modeling.recipes import StudentRecipe
from modeling.student_checkpoint import save_student
from modeling.student_training import StudentTrainer
from pipeline.training_set import WINDOW_COLUMNS, WindowDraw, labelled_utterances, usable_rows, window_batches

STUDENT_FILE = "student.safetensors"
STATE_FILE = "training_state.pt"
IN_MEMORY_UTTERANCES = 1000
"""Up to so many utterances (about 150 MB of FLAC) the rows stay in Ray's object store between passes; a larger set is
streamed from storage in each. Starting a pass over storage costs a second or two, which a small set feels."""

WORKER_RESTARTS = 3
"""How often lost workers are replaced before the job gives up; the same command then still goes on."""


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
    claim(run.student_uri, identity)
    state = _OutputFolder(run.student_uri).load()
    if state is None or state["trainer"]["epoch"] < run.recipe.epochs:
        _train_somewhere(run, utterances, address)
        state = _OutputFolder(run.student_uri).load()
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
            home = _OutputFolder(run.student_uri)
            _train(config, rows.iterator(), home)
        else:
            _train_on_workers(run, config, rows)


def _train_on_workers(run: DistillRun, config: dict, rows: ray.data.Dataset) -> None:
    place([Stage(name="student training", workers=run.workers, cpus=1.0, gpus=float(run.gpu))])
    filesystem, path = storage.resolve(storage.join(run.student_uri, "ray_train"))
    result = ray.train.torch.TorchTrainer(
        lambda config: _train(config, ray.train.get_dataset_shard("train"), _RayWorker(run.student_uri)),
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=run.workers, use_gpu=run.gpu),
        run_config=RunConfig(
            name="distill",
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=WORKER_RESTARTS),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
        datasets={"train": rows},
    ).fit()
    with result.checkpoint.as_directory() as folder:
        for name in (STUDENT_FILE, STATE_FILE):
            storage.write_bytes(storage.join(run.student_uri, name), (Path(folder) / name).read_bytes())


class _OutputFolder:
    """State of an in-process run: two files in the output folder."""

    rank, world_size = 0, 1

    def __init__(self, student_uri: str):
        self.student_uri = student_uri

    def device(self, gpu: bool) -> str:
        return "cuda" if gpu else "cpu"

    def wrap(self, network: nn.Module) -> nn.Module:
        return network

    def load(self) -> dict | None:
        uri = storage.join(self.student_uri, STATE_FILE)
        if not storage.exists(uri):
            return None
        return torch.load(io.BytesIO(storage.read_bytes(uri)), weights_only=True, map_location="cpu")

    def save(self, files: dict[str, bytes], metrics: dict) -> None:
        for name, data in files.items():
            storage.write_bytes(storage.join(self.student_uri, name), data)


class _RayWorker:
    """State of a Ray Train run: a checkpoint with the same two files, reported by rank 0."""

    def __init__(self, student_uri: str):
        self.student_uri = student_uri
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()

    def device(self, gpu: bool) -> torch.device:
        return ray.train.torch.get_device()

    def wrap(self, network: nn.Module) -> nn.Module:
        return ray.train.torch.prepare_model(network)

    def load(self) -> dict | None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:  # a first start, or one after a run with another number of workers
            return _OutputFolder(self.student_uri).load()
        with checkpoint.as_directory() as folder:
            return torch.load(Path(folder) / STATE_FILE, weights_only=True, map_location="cpu")

    def save(self, files: dict[str, bytes], metrics: dict) -> None:
        if self.rank:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, data in files.items():
                (Path(folder) / name).write_bytes(data)
            ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))


def _train(config: dict, rows: ray.data.DataIterator, home: _OutputFolder | _RayWorker) -> None:
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
    with progress(recipe.epochs, "distill", "epochs") as bar, contextlib.closing(batches):
        bar.update(trainer.epoch)
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
