"""Shows how a training proceeds: curves for TensorBoard, and an early estimate of the time it will take."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from cluster import storage

EVENTS_FILE = "tensorboard/events.out.tfevents.0.emovox"

EARLY_STEPS = 20
"""Steps after which the time to the end is logged. The first step of a process does not count, since it also opens files."""

LARGEST_WAIT = 0.2
"""If waiting for data takes more than this share of a step's time, the log says what to do about it."""

log = logging.getLogger(__name__)
Batch = TypeVar("Batch")


def write_curves(output_uri: str, history: list[dict[str, Any]]) -> None:
    """Writes every number of every epoch, by optimiser step, to OUT/tensorboard: `tensorboard --logdir OUT`.

    history: a dict per epoch with `step`, `time` (seconds since 1970), and numbers or dicts of numbers; None gives no point.
    The file is rewritten from the whole history, so a resumed run has no duplicate points and the storage need not support
    appending. An open TensorBoard continues to read it, because its earlier bytes do not change.
    """
    from torch.utils.tensorboard import SummaryWriter  # takes a second to import

    with tempfile.TemporaryDirectory(prefix="emovox-") as folder:
        with SummaryWriter(folder) as writer:
            for metrics in history:
                for tag, value in _scalars(metrics):
                    writer.add_scalar(tag, value, metrics["step"], walltime=metrics["time"])
        (file,) = Path(folder).iterdir()
        storage.write_bytes(storage.join(output_uri, EVENTS_FILE), file.read_bytes())


def _scalars(metrics: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from ((f"{name}/{key}", inner) for key, inner in value.items() if inner is not None)
        elif value is not None and name not in ("step", "time"):
            yield name, value


class Pace:
    """Measures how long steps take and how much of that is waiting for data, and logs both once, early."""

    def __init__(self, steps_left: int, after_step: Callable[[], object] = lambda: None):
        self.steps_left = steps_left
        self.after_step = after_step
        self.steps = 0
        self.wait_s = self.step_s = 0.0

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Passes the batches through. The time until the next one is requested counts as the step of the last one."""
        source = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            waited = time.perf_counter() - asked
            if batch is None:
                return
            yield batch
            self._count(waited, time.perf_counter() - asked)

    def _count(self, wait_s: float, step_s: float) -> None:
        self.steps += 1
        if self.steps > 1:
            self.wait_s += wait_s
            self.step_s += step_s
        self.after_step()
        if self.steps == EARLY_STEPS:
            log.info("%s", self.words())

    def words(self) -> str:
        each_s, waiting = self.step_s / (self.steps - 1), self.wait_s / self.step_s
        left_min = each_s * (self.steps_left - self.steps) / 60
        words = f"{each_s:.3g} s a step, {waiting:.0%} of it waiting for data; about {left_min:.1f} minutes to the end"
        if waiting > LARGEST_WAIT:
            words += (
                ". The data come too slowly: keep the labels on faster or nearer storage, give each worker more CPU "
                "cores for decoding, or train with more workers"
            )
        return words
