"""`emovox bench train`: what the data path and Ray Train cost a training, beside the same training without them."""

import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import torch

from cluster import storage
from cluster.command import JobOptions
from cluster.cores import local_cores
from cluster.failures import UserError
from cluster.identity import claim
from cluster.lease import lease
from cluster.run_record import RunRecord, installed_versions
from cluster.session import session
from cluster.working_tree import PROJECT_ROOT
from modeling.distillation.recipes import RECIPES_WITHOUT_FRONT_END, STUDENT_RECIPES, StudentRecipe
from modeling.distillation.trainer import StudentTrainer
from pipeline.distillation.batches import LabelIndex, RankShare, RowLocations, window_batches
from pipeline.distillation.windows import KEPT_GIB, WindowSampling
from pipeline.training.context import RayTrainContext
from pipeline.training.ray_workers import Workers, train_on_workers

UNTIMED_STEPS = 8
"""At the head of every stretch: more than the batches that either data path holds ready when a stretch begins."""

PASSES_BEFORE = 6
"""Passes whose batches are made and thrown away before all: a training has tens of passes, and a worker keeps the speech
that it has seen decoded. With two workers each has then seen all but a sixty-fourth of the set."""

MOST_BATCHES_BEFORE = 600

PEER = "pipeline.benches.train_peer"

log = logging.getLogger("emovox")


@dataclass(frozen=True, kw_only=True)
class BenchTrain(JobOptions):
    """How much faster would training be if data cost nothing, and is plain PyTorch faster?

    For each number of workers two trainings of the same student take turns, with the same batch size and one CPU thread a
    worker. Ours: Ray Train and this program's data path, where stretches of steps on real data alternate with
    stretches on one batch that lies in memory. The peer: a plain script under torchrun, with DistributedDataParallel and
    a DataLoader over the same utterances. `over_memory` is steps per second with real data over those from memory (1 is
    ideal), `over_torchrun` ours over the peer's: medians over neighbours in time, the least over the numbers of workers.
    Both hold for a set whose decoded speech a worker keeps (4.6 hours, or `--speech-memory-gib`); `decoded_over_memory` and
    `decoded_over_torchrun` are those of a set so large that every window is decoded anew.
    """

    labels: str
    """Folder or s3:// prefix of a distillation set with at least a batch of training utterances."""
    out: str
    """Folder for train.json and what the workers need."""
    recipe: Literal[RECIPES_WITHOUT_FRONT_END] = "compact"  # pyright: ignore[reportInvalidTypeForm]
    """Whose student, batch size and augmentation."""
    workers: tuple[int, ...] = (1, 2)
    """Numbers of DDP workers to measure."""
    steps: int = 20
    """Timed steps of a stretch."""
    stretches: int = 3
    """Stretches of each kind in a training."""
    repeats: int = 3
    """Times that ours and the peer's training take turns."""
    loaders: int | None = None
    """DataLoader processes of each of the peer's workers; left out: the cores divided by the workers, 4 at most."""
    speech_memory_gib: float = KEPT_GIB
    """As in `emovox distill`."""
    gpu: bool = False
    """Train on GPUs, one for each worker."""

    def __post_init__(self):
        for name in ("steps", "stretches", "repeats"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; give 1 or more")
        if not self.workers or min(self.workers) < 1:
            raise UserError(f"workers is {self.workers}; give numbers of 1 or more, such as 1 2")


def bench_train(options: BenchTrain, record: RunRecord) -> dict:
    labels, out = storage.absolute(options.labels), storage.absolute(options.out)
    recipe = STUDENT_RECIPES[options.recipe]()
    index = LabelIndex(labels)
    places = index.places(index.training())
    if len(places) < recipe.batch_size:
        raise UserError(f"{labels}: {len(places)} training utterances are fewer than a batch of {recipe.batch_size}")
    claim(out, {"bench": "train"})
    by_workers = {}
    with session(options.address):
        for workers in options.workers:
            with record.stage(f"{workers} workers"):
                by_workers[str(workers)] = _measure(options, recipe, places, labels, out, workers)
    ratios = ("over_memory", "decoded_over_memory", "over_torchrun", "decoded_over_torchrun")
    result = {
        "workers": by_workers,
        **{ratio: min(one[ratio] for one in by_workers.values()) for ratio in ratios},
        "recipe": options.recipe,
        "rows": len(places),
        "batch": recipe.batch_size,
        "device": torch.cuda.get_device_name() if options.gpu else "cpu",
        "cores": local_cores(),
        "versions": installed_versions(),
    }
    record.counts |= result
    storage.write_json(storage.join(out, "train.json"), result)
    record.write_into(out)
    return result


def _measure(
    options: BenchTrain, recipe: StudentRecipe, places: RowLocations, labels: str, out: str, workers: int
) -> dict:
    """Steps per second of every stretch; ratios are medians over pairs that lie side by side in time, so that a machine
    that others disturb for a while does not decide."""
    rates: dict[str, list[float]] = {"real": [], "memory": [], "decoded": [], "torchrun": []}
    over_memory, decoded_over_memory, over_torchrun, decoded_over_torchrun = [], [], [], []
    for repeat in range(options.repeats):
        log.info("%d workers, training %d of %d: ours and the peer's take turns", workers, repeat + 1, options.repeats)
        ours = _ours(options, recipe, places, out, workers)
        peer = _torchrun(options, labels, workers)
        over_memory += [real / memory for real, memory in zip(ours["real"], ours["memory"], strict=True)]
        decoded_over_memory += [real / memory for real, memory in zip(ours["decoded"], ours["memory"], strict=True)]
        over_torchrun.append(statistics.median(ours["real"]) / statistics.median(peer))
        decoded_over_torchrun.append(statistics.median(ours["decoded"]) / statistics.median(peer))
        for name, values in (ours | {"torchrun": peer}).items():
            rates[name] += values
    return {
        "steps_per_s": {name: round(statistics.median(values), 4) for name, values in rates.items()},
        "over_memory": round(statistics.median(over_memory), 4),
        "decoded_over_memory": round(statistics.median(decoded_over_memory), 4),
        "over_torchrun": round(statistics.median(over_torchrun), 4),
        "decoded_over_torchrun": round(statistics.median(decoded_over_torchrun), 4),
        "stretches_steps_per_s": {name: [round(value, 4) for value in values] for name, values in rates.items()},
        "timed_steps": options.steps,
    }


def _ours(
    options: BenchTrain, recipe: StudentRecipe, places: RowLocations, out: str, workers: int
) -> dict[str, list[float]]:
    """Steps per second of stretches on real data and on a batch in memory, which take turns, on Ray Train's workers."""
    answer = storage.join(out, "rates.json")

    def loop(worker: RayTrainContext) -> None:
        share = RankShare(batch=recipe.batch_size, rank=worker.rank, world_size=worker.world_size)
        trainer = StudentTrainer(recipe, worker.process(options.gpu), weight=share.weight)
        draw = WindowSampling(windows=1, pooling=recipe.target_pooling, seed=recipe.seed, padding=recipe.padding)
        real, decoded = (window_batches(places, draw, share, kept_gib=gib) for gib in (options.speech_memory_gib, 0.0))
        in_memory = next(real)
        stretches = {"real": real, "memory": iter(lambda: in_memory, None), "decoded": decoded}
        rates: dict[str, list[float]] = {name: [] for name in stretches}
        for _ in islice(real, min(PASSES_BEFORE * (len(places) // share.batch), MOST_BATCHES_BEFORE)):
            pass
        for _ in range(options.stretches):
            for name, batches in stretches.items():
                rates[name].append(_stretch(trainer, batches, options.steps))
        if worker.rank == 0:
            storage.write_json(answer, rates)

    with lease(out) as held:
        train_on_workers("training bench", loop, Workers(number=workers, gpu=options.gpu), held.proof)
    return storage.read_json(answer)


def _stretch(trainer: StudentTrainer, batches: Iterator[dict], steps: int) -> float:
    """Steps per second, after some that are not timed; each step ends with a look at its loss, so nothing is under way."""
    trainer.run_epoch(islice(batches, UNTIMED_STEPS), trainer.epoch)
    began = time.perf_counter()
    trainer.run_epoch(islice(batches, steps), trainer.epoch)
    return steps / (time.perf_counter() - began)


def _torchrun(options: BenchTrain, labels: str, workers: int) -> list[float]:
    """Steps per second of the peer's stretches."""
    loaders = options.loaders if options.loaders is not None else min(4, max(1, local_cores() // workers))
    with tempfile.TemporaryDirectory(prefix="emovox-") as folder:
        answer = Path(folder, "rates.json")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
        command += ["-m", PEER, "--labels", labels, "--out", str(answer), "--recipe", options.recipe]
        command += ["--steps", str(options.steps), "--stretches", str(options.stretches), "--loaders", str(loaders)]
        path = os.pathsep.join(filter(None, [str(PROJECT_ROOT), os.environ.get("PYTHONPATH", "")]))
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        done = subprocess.run(
            command + ["--gpu"] * options.gpu, cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"the peer under torchrun failed: {done.stderr[-2000:]}")
        return storage.read_json(answer)["real"]
