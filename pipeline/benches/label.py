"""How near `emovox label` comes to the bare work it consists of, and how far it is from a plain script."""

import logging
import multiprocessing
import os
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from cluster import storage
from cluster.command import JobOptions
from cluster.failures import UserError
from cluster.run_record import RunRecord
from cluster.session import local_cores, session
from modeling.teacher import DEFAULT_TEACHER
from pipeline import distillation_set, labelling
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
    network, one teacher pass a frame. Each clip is one utterance. The job labels all clips `--repeats` times over; its
    steady time runs from the first quarter of its parts on storage to the last; what comes before is told as all_seconds
    and start_s. The floor is that of the very files of this time, taken before and after the job, so that a disturbed
    machine shows.
    """

    data: str
    """Folder with videos on this machine, at any depth. Clips that cannot be labelled are listed and left out."""
    out: str | None = None
    """Folder for bench_label.json, which `emovox plan --rates` reads."""
    repeats: int = 6
    """How often the job labels the same clips; the more, the less its start and end weigh."""
    clips: int | None = None
    """Take at most so many clips, spread evenly over the folder; left out: all."""

    def __post_init__(self):
        for name in ("repeats", "clips"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; give 1 or more")


def bench_label(options: BenchLabel, record: RunRecord) -> dict:
    """JSON: floor, job, peer (seconds and rows of each), over_floor, over_peer, over_decode and their limits."""
    weights = detector_weights(DEFAULT_DETECTOR), teacher_weights(DEFAULT_TEACHER)
    cores = local_cores()
    with record.stage("floor"):
        spent, left_out = bare_work(_clips(options), weights, cores)
        if not spent:
            raise UserError(
                f"{options.data}: no clip of {len(left_out)} can be labelled; give a folder with talking faces"
            )
    paths = sorted(spent)
    log.info("%d clips, %d left out; the job labels them %d times", len(paths), len(left_out), options.repeats)
    with record.stage("job"):
        run = run_job_on(paths * options.repeats, weights, options.address)
    with record.stage("peer"), _processes(1) as pool:
        peer = pool.submit(labelled_by_script, paths, *weights).result()
    with record.stage("floor again"):
        again, _ = bare_work(paths, weights, cores)
    floors = [_seconds(measured, paths, FLOOR_PARTS) / cores for measured in (spent, again)]
    seconds, files = run.steady()

    def bare(parts: Sequence[str]) -> float:
        """Seconds of bare work on the files that the job labelled in its steady time, on one core."""
        return (_seconds(spent, files, parts) + _seconds(again, files, parts)) / 2

    return {
        "clips": len(paths),
        "frames": sum(clip["frames"] for clip in spent.values()),
        "cores": cores,
        "left_out": left_out,
        "floor": {
            "rows": len(paths),
            "seconds": round(statistics.mean(floors), 2),
            "work_s": {
                part: round((_seconds(spent, paths, [part]) + _seconds(again, paths, [part])) / 2, 3) for part in PARTS
            },
            "before_and_after": [round(floor, 3) for floor in floors],
        },
        "job": run.facts() | {"floor_seconds": round(bare(FLOOR_PARTS) / cores, 2)},
        "peer": peer,
        "over_floor": round(seconds * cores / bare(FLOOR_PARTS), 3),
        "over_floor_limit": LIMIT_OVER_FLOOR,
        "over_peer": round(seconds * cores / bare(FLOOR_PARTS) * statistics.mean(floors) / peer["seconds"], 3),
        "over_decode": round(seconds * cores / bare(PLAIN_PARTS), 2),
        "over_decode_limit": LIMIT_OVER_DECODE,
        "over_video_decode": round(seconds * cores / bare(PLAIN_PARTS[:1]), 2),
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


def _seconds(spent: dict[str, dict[str, float]], files: Sequence[str], parts: Sequence[str]) -> float:
    return sum(spent[file].get(part, 0.0) for file in files for part in parts)


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
        parts = [
            (os.path.getmtime(uri), rows["video_uri"].to_pylist())
            for uri, rows in distillation_set.read_parts(run.labels_uri, ["video_uri"])
        ]
    return Run(sorted(parts), record)


@dataclass(frozen=True)
class Run:
    """What the job did. parts: when each was on storage (Unix seconds), and the files of its rows; in this order."""

    parts: list[tuple[float, list[str]]]
    record: RunRecord

    def steady(self) -> tuple[float, list[str]]:
        """Seconds from the first quarter of the parts to the last part, and the files labelled in that time. Before it
        processes load code, memory and their first file."""
        first = max(0, len(self.parts) // 4 - 1)
        files = [file for _, files in self.parts[first + 1 :] for file in files]
        return self.parts[-1][0] - self.parts[first][0], files

    def facts(self) -> dict:
        work_s = self.record.stages[labelling.WORK]
        seconds, files = self.steady()
        return {
            "rows": len(files),
            "seconds": round(seconds, 2),
            "all_rows": sum(len(files) for _, files in self.parts),
            "all_seconds": round(work_s, 2),
            "start_s": round(self.record.stages["all"] - work_s, 2),
            "stages": self.record.counts["stages"],
        }


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
