"""How near `emovox label` comes to the bare work it consists of, and how far it is from a plain script."""

import logging
import multiprocessing
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

import pyarrow as pa

from cluster import storage
from cluster.command import JobOptions
from cluster.failures import UserError
from cluster.run_record import RunRecord
from cluster.session import local_cores, session
from modeling.teacher import DEFAULT_TEACHER
from pipeline import labelling
from pipeline.benches.label_ways import Floor, labelled_by_script
from pipeline.clips_layout import SUFFIXES
from pipeline.label_plan import LabelPlan
from pipeline.manifest import MANIFEST_SCHEMA, as_manifest
from pipeline.rejects import Rejected
from pipeline.weights import DEFAULT_DETECTOR, Weights, detector_weights, teacher_weights

FLOOR_PARTS = ("decode", "speech", "detect", "teacher")
PLAIN_PARTS = ("plain_decode", "plain_sound")
PARTS = (*FLOOR_PARTS, *PLAIN_PARTS, "sampled_decode")
LIMIT_OVER_FLOOR = 1.15
LIMIT_OVER_DECODE = 2.5

log = logging.getLogger("emovox")


@dataclass(frozen=True, kw_only=True)
class BenchLabel(JobOptions):
    """Labels the clips of a folder and compares the seconds with two others on the same files.

    The floor is the bare work: decoding (the cheaper of a plain PyAV loop and of the job's own sampling), the sound, the
    detector on the frames at which the job looks, the teacher on the job's crops, each in as many processes as there are
    cores, perfectly spread. The peer is a plain script: decord, `predict_jsons` of retinaface-pytorch around the same
    network, one teacher pass a frame. Each clip is one utterance.

    The job labels all clips `--repeats` times over, and then `--longer` times as often. What the longer run takes more
    is what further clips cost; the rest, start and end, is the same in both and is told as start_s. Measured within one
    run it would be wrong: clips that come out late were in part worked on early. The floor is taken before, between and
    after, so that a disturbed machine shows.
    """

    data: str
    """Folder with videos on this machine, at any depth. Clips that cannot be labelled are listed and left out."""
    out: str | None = None
    """Folder for bench_label.json, which `emovox plan --rates` reads."""
    repeats: int = 4
    """How often the job's shorter run labels the same clips."""
    longer: int = 3
    """How many times as long the longer run is."""
    clips: int | None = None
    """Take at most so many clips, spread evenly over the folder; left out: all."""

    def __post_init__(self):
        for name in ("repeats", "clips"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; give 1 or more")
        if self.longer < 2:
            raise UserError(f"longer is {self.longer}; give 2 or more, two runs of a length tell nothing")


def bench_label(options: BenchLabel, record: RunRecord) -> dict:
    """JSON: floor, job, peer (seconds and rows of each), over_floor, over_peer, over_decode and their limits."""
    weights = detector_weights(DEFAULT_DETECTOR), teacher_weights(DEFAULT_TEACHER)
    cores = local_cores()
    with record.stage("floor"):
        first, left_out = bare_work(_clips(options), weights, cores)
        if not first:
            raise UserError(
                f"{options.data}: no clip of {len(left_out)} can be labelled; give a folder with talking faces"
            )
    paths = sorted(first)
    log.info("%d clips, %d left out; the job labels them %d times", len(paths), len(left_out), options.repeats)
    floors, runs = [first], []
    for repeats in (options.repeats, options.repeats * options.longer):
        with record.stage(f"job {repeats} times"):
            runs.append(run_job_on(paths * repeats, weights, options.address))
        with record.stage(f"floor after {repeats}"):
            floors.append(bare_work(paths, weights, cores)[0])
    with record.stage("peer"), _processes(1) as pool:
        peer = pool.submit(labelled_by_script, paths, *weights).result()

    def bare_s(parts: Sequence[str], measured: Sequence[dict] = floors) -> float:
        """Seconds of bare work of all clips, once, on all cores; the mean of the measured floors."""
        return (
            statistics.mean(sum(clip.get(part, 0.0) for clip in f.values() for part in parts) for f in measured) / cores
        )

    pass_s = (runs[1].seconds - runs[0].seconds) / (options.repeats * (options.longer - 1))
    return {
        "clips": len(paths),
        "frames": sum(clip["frames"] for clip in first.values()),
        "cores": cores,
        "left_out": left_out,
        "floor": {
            "rows": len(paths),
            "seconds": round(bare_s(FLOOR_PARTS), 3),
            "each": [round(bare_s(FLOOR_PARTS, [measured]), 3) for measured in floors],
            "work_s": {part: round(bare_s([part]) * cores, 3) for part in PARTS},
        },
        "job": {
            "rows": len(paths),
            "seconds": round(pass_s, 3),
            "start_s": round(runs[1].seconds + runs[1].start_s - pass_s * options.repeats * options.longer, 2),
            "runs": [run.facts() for run in runs],
        },
        "peer": peer,
        "over_floor": round(pass_s / bare_s(FLOOR_PARTS), 3),
        "over_floor_limit": LIMIT_OVER_FLOOR,
        "over_floor_whole_run": round(runs[1].seconds / (bare_s(FLOOR_PARTS) * options.repeats * options.longer), 3),
        "over_peer": round(pass_s / peer["seconds"], 3),
        "over_decode": round(pass_s / bare_s(PLAIN_PARTS), 2),
        "over_decode_limit": LIMIT_OVER_DECODE,
        "over_video_decode": round(pass_s / bare_s(PLAIN_PARTS[:1]), 2),
    }


def _clips(options: BenchLabel) -> list[str]:
    if not storage.is_local(options.data):
        raise UserError(f"{options.data}: the floor is measured on files of this machine; copy some clips to a folder")
    paths = [file.uri for file in storage.list_files(storage.absolute(options.data), SUFFIXES)]
    if not paths:
        raise UserError(f"{options.data}: no video ({' '.join(SUFFIXES)}) is there; give a folder with some")
    wanted = min(options.clips or len(paths), len(paths))
    return [paths[place * len(paths) // wanted] for place in range(wanted)]


def bare_work(
    paths: Sequence[str], weights: tuple[Weights, Weights], cores: int
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Clip -> seconds of its parts, measured while as many processes work as there are cores; and why others have none."""
    spent, left_out = {}, {}
    with _processes(cores, _start_floor, weights) as pool:
        list(pool.map(_floor_of, list(paths[:1]) * 2 * cores))  # the first passes of each process are not counted
        for path, answer in zip(paths, pool.map(_floor_of, paths), strict=True):
            (left_out if isinstance(answer, str) else spent)[path] = answer
    return spent, left_out


def _processes(count: int, initializer=None, arguments: tuple = ()) -> ProcessPoolExecutor:
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
