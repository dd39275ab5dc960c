"""The floor of `emovox bench label`: the bare work on some clips, in as many processes as there are cores."""

import contextlib
import multiprocessing
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from pipeline.benches.label_ways import Floor
from pipeline.large_pages import large_pages
from pipeline.rejects import Rejected
from pipeline.weights import Weights

CPU_PARTS = ("decode", "speech", "detect")
"""What stays on the cores where the teacher runs on a GPU."""
FLOOR_PARTS = (*CPU_PARTS, "teacher")
PLAIN_PARTS = ("plain_decode", "plain_sound")
PARTS = (*FLOOR_PARTS, *PLAIN_PARTS, "sampled_decode")

Spent = dict[str, dict[str, float]]
"""Clip -> seconds of each of its parts, and its numbers of `frames` and `faces`."""

BareWork = Callable[[Sequence[str]], tuple[Spent, dict[str, str]]]
"""Clips -> what was spent on each, and of those that cannot be labelled, why."""


@contextlib.contextmanager
def bare_workers(warm_up: str, weights: tuple[Weights, Weights], cores: int) -> Iterator[BareWork]:
    """The processes, ready: their first passes, over the clip `warm_up`, are behind them. Between calls they sleep."""
    with processes(cores, _start_floor, weights) as pool:
        with large_pages():  # as the workers of the job have them
            list(pool.map(_floor_of, [warm_up] * 2 * cores))

        def bare_work(paths: Sequence[str]) -> tuple[Spent, dict[str, str]]:
            spent, left_out = {}, {}
            for path, answer in zip(paths, pool.map(_floor_of, paths), strict=True):
                (left_out if isinstance(answer, str) else spent)[path] = answer
            return spent, left_out

        yield bare_work


def bare_s(floors: Sequence[Spent], parts: Sequence[str]) -> float:
    """Seconds of one core for bare work on all clips, once; the mean of the floors."""
    return statistics.mean(sum(clip.get(part, 0.0) for clip in floor.values() for part in parts) for floor in floors)


def processes(count: int, initializer=None, arguments: tuple = ()) -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=spawn, initializer=initializer, initargs=arguments)


def _start_floor(detector: Weights, teacher: Weights) -> None:
    global _floor
    _floor = Floor(detector, teacher)


def _floor_of(path: str) -> dict[str, float] | str:
    """Seconds of each part, or why the clip cannot be labelled."""
    try:
        spent = _floor(path)
    except Rejected as rejected:
        return str(rejected.reason)
    except Exception as error:  # a plain loop has no reasons, and a broken clip belongs in no comparison
        return f"{type(error).__name__}: {error}"[:200]
    return spent if spent.get("teacher") else "no_face"
