"""The floor of `emovox bench label`: the bare work on some clips, in as many processes as there are cores."""

import contextlib
import math
import multiprocessing
import statistics
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor

from cluster.huge_pages import with_huge_pages
from pipeline.assets.weights import Weights
from pipeline.benches.label_ways import Floor
from pipeline.rejects import Rejected

CPU_PARTS = ("decode", "speech", "detect")
"""The steps that stay on the cores when the teacher runs on a GPU."""
FLOOR_PARTS = (*CPU_PARTS, "teacher")
PLAIN_PARTS = ("plain_decode", "plain_sound")
PARTS = (*FLOOR_PARTS, *PLAIN_PARTS, "sampled_decode")
DECODE_WAYS = ("plain_decode", "sampled_decode")
MEASURED = tuple(part for part in PARTS if part != "decode")

Spent = dict[str, dict[str, float]]
"""Clip -> seconds of each step, and its numbers of `frames` and `faces`."""

BareWork = Callable[[Sequence[str]], tuple[Spent, dict[str, str]]]
"""Clips -> what was spent on each (the mean, if a clip is given several times), and why some cannot be labelled."""


@contextlib.contextmanager
def bare_workers(warm_up: str, weights: tuple[Weights, Weights], cores: int) -> Generator[BareWork]:
    """Starts the processes and lets them process the clip `warm_up` once. Between calls they sleep."""
    with processes(cores, _start_floor, weights) as pool:
        with with_huge_pages():  # like the job's workers
            list(pool.map(_floor_of, [warm_up] * 2 * cores))

        def bare_work(paths: Sequence[str]) -> tuple[Spent, dict[str, str]]:
            spent, left_out = defaultdict(list), {}
            for path, answer in zip(paths, pool.map(_floor_of, paths), strict=True):
                if isinstance(answer, str):
                    left_out[path] = answer
                else:
                    spent[path].append(answer)
            return {path: _mean(measured) for path, measured in spent.items()}, left_out

        yield bare_work


def spread(spent: Spent, cores: int) -> list[str]:
    """The clips in an order that keeps all cores busy to the end: longest first, and repeated so often that every core has
    work for as long as the longest clip takes. A core runs too fast while its neighbours idle."""
    seconds = {path: sum(clip.get(part, 0.0) for part in MEASURED) for path, clip in spent.items()}
    times = math.ceil(cores * max(seconds.values()) / sum(seconds.values()))
    return [path for path in sorted(seconds, key=lambda path: seconds[path], reverse=True) for _ in range(times)]


def with_cheaper_ways(floors: Sequence[Spent]) -> list[Spent]:
    """Sets each clip's `decode` to that of its two ways with the smaller mean over the measurements. Taking the smaller of
    each pair would be biased low by the noise of both."""
    chosen = {clip: min(DECODE_WAYS, key=lambda way: _mean_of(floors, clip, way)) for clip in floors[0]}
    return [{clip: parts | {"decode": parts[chosen[clip]]} for clip, parts in floor.items()} for floor in floors]


def _mean_of(floors: Sequence[Spent], clip: str, part: str) -> float:
    return statistics.mean(floor[clip][part] for floor in floors)


def bare_s(floors: Sequence[Spent], parts: Sequence[str]) -> float:
    """Core seconds of bare work on all clips, once; the mean over the measurements."""
    return statistics.mean(sum(clip.get(part, 0.0) for clip in floor.values() for part in parts) for floor in floors)


def _mean(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.mean(one[name] for one in measured) for name in measured[0]}


def processes(
    count: int, initializer: Callable[..., object] | None = None, arguments: tuple = ()
) -> ProcessPoolExecutor:
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=spawn, initializer=initializer, initargs=arguments)


def _start_floor(detector: Weights, teacher: Weights) -> None:
    global _floor
    _floor = Floor(detector, teacher)


def _floor_of(path: str) -> dict[str, float] | str:
    """Seconds of each step, or why the clip cannot be labelled."""
    try:
        spent = _floor(path)
    except Rejected as rejected:
        return str(rejected.reason)
    except Exception as error:  # noqa: BLE001 (a plain loop has no reject reasons; a broken clip is left out)
        return f"{type(error).__name__}: {error}"[:200]
    return spent if spent.get("teacher") else "no_face"
