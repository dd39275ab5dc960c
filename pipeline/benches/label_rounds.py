"""The rounds of `emovox bench label`: the job in a shorter and a longer run, and the bare work of its clips between them."""

import multiprocessing
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

import pyarrow as pa

from cluster.run_record import RunRecord
from cluster.session import local_cores, session
from pipeline import labelling
from pipeline.benches.label_ways import Floor
from pipeline.label_plan import LabelPlan
from pipeline.large_pages import large_pages
from pipeline.manifest import MANIFEST_SCHEMA, as_manifest
from pipeline.rejects import Rejected
from pipeline.weights import Weights

FLOOR_PARTS = ("decode", "speech", "detect", "teacher")
PLAIN_PARTS = ("plain_decode", "plain_sound")
PARTS = (*FLOOR_PARTS, *PLAIN_PARTS, "sampled_decode")

Spent = dict[str, dict[str, float]]
"""Clip -> seconds of each of its parts."""


def measured_round(
    paths: list[str],
    lengths: tuple[int, int],
    weights: tuple[Weights, Weights],
    before: Spent,
    long_first: bool,
    address: str | None,
) -> "Round":
    """The job in two runs with the floor after each.

    lengths: how often the shorter run labels the clips, and how many times as long the longer one is. before: the floor
    that was measured last.
    """
    short, long = lengths[0], lengths[0] * lengths[1]
    floors, runs = [before], {}
    for repeats in (long, short) if long_first else (short, long):
        runs[repeats] = run_job_on(paths * repeats, weights, address)
        floors.append(bare_work(paths, weights, local_cores())[0])
    return Round(short=runs[short], long=runs[long], floors=floors, clips=len(paths), cores=local_cores())


def bare_s(floors: Sequence[Spent], parts: Sequence[str]) -> float:
    """Seconds of one core for bare work on all clips, once; the mean of the floors."""
    return statistics.mean(sum(clip.get(part, 0.0) for clip in floor.values() for part in parts) for floor in floors)


def bare_work(paths: Sequence[str], weights: tuple[Weights, Weights], cores: int) -> tuple[Spent, dict[str, str]]:
    """Clip -> seconds of its parts, measured while as many processes work as there are cores; and why others have none."""
    spent, left_out = {}, {}
    with large_pages(), processes(cores, _start_floor, weights) as pool:  # as the workers of the job have them
        list(pool.map(_floor_of, list(paths[:1]) * 2 * cores))  # the first passes of each process are not counted
        for path, answer in zip(paths, pool.map(_floor_of, paths), strict=True):
            (left_out if isinstance(answer, str) else spent)[path] = answer
    return spent, left_out


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


def run_job_on(paths: Sequence[str], weights: tuple[Weights, Weights], address: str | None) -> "Run":
    """Labels the files as `emovox label` does."""
    record = RunRecord("bench-label", LabelPlan())
    with tempfile.TemporaryDirectory(prefix="emovox-bench-") as out, session(address):
        run = labelling.LabelRun(
            manifest=_manifest(paths), labels_uri=out + "/labels", teacher=weights[1], detector=weights[0]
        )
        with record.stage("all"):
            counts = labelling.label(run, LabelPlan(), address, record)
        if counts["labelled"] != len(paths):
            raise RuntimeError(
                f"the job labelled {counts['labelled']} of {len(paths)} clips that the floor could label"
            )
    worked_s = record.stages[labelling.WORK]
    return Run(len(paths), worked_s, record.stages["all"] - worked_s, record.counts["stages"])


@dataclass(frozen=True)
class Run:
    """What the job did: rows, seconds from the first task to the last part on storage, seconds of start before and of the
    audit after, and what its stages counted."""

    rows: int
    seconds: float
    start_s: float
    stages: dict[str, dict]

    def facts(self) -> dict:
        return asdict(self) | {"seconds": round(self.seconds, 2), "start_s": round(self.start_s, 2)}


@dataclass(frozen=True, kw_only=True)
class Round:
    """A shorter and a longer run, and the floors (clip -> seconds of its parts) before, between and after them."""

    short: Run
    long: Run
    floors: list[Spent]
    clips: int
    cores: int

    @property
    def pass_s(self) -> float:
        """Seconds that labelling all clips once more takes."""
        return (self.long.seconds - self.short.seconds) / (self.long.rows - self.short.rows) * self.clips

    @property
    def start_s(self) -> float:
        return self.long.seconds + self.long.start_s - self.pass_s * self.long.rows / self.clips

    def over(self, parts: Sequence[str]) -> float:
        return self.pass_s / (bare_s(self.floors, parts) / self.cores)

    def whole_over_floor(self) -> float:
        """Of the longer run with its beginning and end, from its first task to its last part."""
        return self.long.seconds / self.long.rows * self.clips / (bare_s(self.floors, FLOOR_PARTS) / self.cores)


def _manifest(paths: Sequence[str]) -> pa.Table:
    """Each clip one utterance, from its beginning to its end."""
    columns = {
        "utterance_id": [f"{place:06d}" for place in range(len(paths))],
        "speaker_id": ["speaker"] * len(paths),
        "video_id": [f"{place:06d}" for place in range(len(paths))],
        "video_uri": list(paths),
        "audio_uri": list(paths),
        "start_s": [0.0] * len(paths),
        "end_s": [None] * len(paths),
        "split": ["train"] * len(paths),
    }
    empty = {name: [None] * len(paths) for name in MANIFEST_SCHEMA.names if name not in columns}
    return as_manifest(columns | empty, "the bench's manifest")
