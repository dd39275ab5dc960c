"""`emovox bench train`: what the data path and Ray Train cost a training, compared with the same training without them."""

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

import torch

from cluster import storage
from cluster.cores import local_cores
from cluster.failures import UserError
from cluster.identity import claim
from cluster.json_values import json_ready
from cluster.lease import lease
from cluster.run_record import RunRecord
from cluster.session import session
from cluster.working_tree import python_path
from modeling.distillation.recipes import STUDENT_RECIPES, StudentRecipe
from modeling.distillation.trainer import StudentTrainer
from pipeline.benches.options import BenchTrain
from pipeline.distillation.batches import LabelIndex, RankShare, RowLocations, window_batches
from pipeline.distillation.windows import WindowSampling
from pipeline.training.context import RayTrainContext
from pipeline.training.ray_workers import Workers, train_on_workers

UNTIMED_STEPS = 8
"""Steps at the start of every stretch; more than the batches that either data path has ready when a stretch begins."""

PASSES_BEFORE = 6
"""Passes whose batches are made and thrown away first: a training has tens of passes, and a worker keeps the speech that it
has decoded. After these, each of two workers has seen all but a sixty-fourth of the set."""

MOST_BATCHES_BEFORE = 600

UNITS = {"rows": "utterances", "workers.*.steps_per_s.*": "steps/s", "workers.*.*over_*": "ratio"}
"""Quantities that --record writes."""

PEER = "pipeline.benches.train_peer"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WorkersFigures:
    """Figures for one number of workers. Ratios are medians over pairs that are neighbours in time, so that a temporary
    disturbance of the machine does not matter; steps_per_s are medians over all stretches of a kind (real, memory, decoded,
    torchrun)."""

    steps_per_s: dict[str, float]
    over_memory: float
    decoded_over_memory: float
    over_torchrun: float
    decoded_over_torchrun: float
    stretches_steps_per_s: dict[str, list[float]]
    timed_steps: int


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """workers: number of workers, as text -> figures. The ratios are the minimum over them."""

    workers: dict[str, WorkersFigures]
    over_memory: float
    decoded_over_memory: float
    over_torchrun: float
    decoded_over_torchrun: float
    recipe: str
    rows: int
    batch: int
    device: str
    cores: int


def bench_train(options: BenchTrain, record: RunRecord) -> TrainResult:
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
                by_workers[str(workers)] = _measure(options, recipe, places, workers=workers)
    measured = by_workers.values()
    result = TrainResult(
        workers=by_workers,
        over_memory=min(one.over_memory for one in measured),
        decoded_over_memory=min(one.decoded_over_memory for one in measured),
        over_torchrun=min(one.over_torchrun for one in measured),
        decoded_over_torchrun=min(one.decoded_over_torchrun for one in measured),
        recipe=options.recipe,
        rows=len(places),
        batch=recipe.batch_size,
        device=torch.cuda.get_device_name() if options.gpu else "cpu",
        cores=local_cores(),
    )
    record.counts |= json_ready(result)
    record.write_into(out)
    return result


def _measure(options: BenchTrain, recipe: StudentRecipe, places: RowLocations, *, workers: int) -> WorkersFigures:
    rates: dict[str, list[float]] = {"real": [], "memory": [], "decoded": [], "torchrun": []}
    over_memory, decoded_over_memory, over_torchrun, decoded_over_torchrun = [], [], [], []
    for repeat in range(options.repeats):
        log.info("%d workers, training %d of %d: ours and the peer's take turns", workers, repeat + 1, options.repeats)
        ours = _ours(options, recipe, places, workers)
        peer = _torchrun(options, workers)
        over_memory += [real / memory for real, memory in zip(ours["real"], ours["memory"], strict=True)]
        decoded_over_memory += [real / memory for real, memory in zip(ours["decoded"], ours["memory"], strict=True)]
        over_torchrun.append(statistics.median(ours["real"]) / statistics.median(peer))
        decoded_over_torchrun.append(statistics.median(ours["decoded"]) / statistics.median(peer))
        for name, values in (ours | {"torchrun": peer}).items():
            rates[name] += values
    return WorkersFigures(
        steps_per_s={name: round(statistics.median(values), 4) for name, values in rates.items()},
        over_memory=round(statistics.median(over_memory), 4),
        decoded_over_memory=round(statistics.median(decoded_over_memory), 4),
        over_torchrun=round(statistics.median(over_torchrun), 4),
        decoded_over_torchrun=round(statistics.median(decoded_over_torchrun), 4),
        stretches_steps_per_s={name: [round(value, 4) for value in values] for name, values in rates.items()},
        timed_steps=options.steps,
    )


def _ours(options: BenchTrain, recipe: StudentRecipe, places: RowLocations, workers: int) -> dict[str, list[float]]:
    """Steps per second on Ray Train's workers, of alternating stretches on real data and on a batch in memory."""
    out = storage.absolute(options.out)
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
    """Steps per second, after some untimed ones. Each step ends by reading its loss, so no work is pending."""
    trainer.run_epoch(islice(batches, UNTIMED_STEPS), trainer.epoch)
    began = time.perf_counter()
    trainer.run_epoch(islice(batches, steps), trainer.epoch)
    return steps / (time.perf_counter() - began)


def _torchrun(options: BenchTrain, workers: int) -> list[float]:
    """Steps per second of the peer's stretches."""
    loaders = options.loaders if options.loaders is not None else min(4, max(1, local_cores() // workers))
    with tempfile.TemporaryDirectory(prefix="emovox-") as folder:
        answer = Path(folder, "rates.json")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={workers}"]
        command += [
            "-m",
            PEER,
            "--labels",
            storage.absolute(options.labels),
            "--out",
            str(answer),
            "--recipe",
            options.recipe,
        ]
        command += ["--steps", str(options.steps), "--stretches", str(options.stretches), "--loaders", str(loaders)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": python_path(os.environ.get("PYTHONPATH", ""))}
        done = subprocess.run(
            command + ["--gpu"] * options.gpu, cwd=folder, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"the peer under torchrun failed: {done.stderr[-2000:]}")
        return storage.read_json(answer)["real"]
