"""How close `emovox label` comes to the bare work that it consists of, and how it compares with a plain script."""

import logging
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.cores import local_cores
from cluster.devices import local_device
from cluster.failures import UserError
from cluster.run_record import RunRecord
from modeling.teachers.catalogue import DEFAULT_TEACHER
from pipeline.assets.packages import DEFAULT_DETECTOR
from pipeline.assets.weights import detector_weights, teacher_weights
from pipeline.benches.label_floor import (
    CPU_PARTS,
    FLOOR_PARTS,
    PARTS,
    PLAIN_PARTS,
    Spent,
    bare_s,
    bare_workers,
    processes,
    spread,
    with_cheaper_ways,
)
from pipeline.benches.label_gpu import GpuFigures, gpu_figures
from pipeline.benches.label_job import JobFacts, JobTiming, job_and_floors
from pipeline.benches.label_ways import ScriptRun, labelled_by_script
from pipeline.benches.measuring import chosen_clips
from pipeline.benches.options import BenchLabel

LIMIT_OVER_FLOOR = 1.15
LIMIT_OVER_DECODE = 2.5

UNITS = {
    "over_*_limit": "limit of the ratio",
    "over_*": "ratio",
    "floor.seconds": "s a pass",
    "floor.standard_error": "s a pass",
    "job.seconds": "s a pass",
    "job.start_s": "s",
    "peer.seconds": "s a pass",
    "clips": "clips",
    "gpu.matrix_tflops": "TFLOP/s",
    "gpu.teachers.*.images_per_s": "faces/s",
    "gpu.teachers.*.network_images_per_s": "faces/s",
    "gpu.teachers.*.of_ceiling": "ratio",
    "gpu.teachers.*.network_of_ceiling": "ratio",
}
"""Quantities that --record writes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FloorFigures:
    """The bare work on all clips, once: wall seconds (mean and each measurement), and core seconds of its steps."""

    rows: int
    seconds: float
    each: list[float]
    standard_error: float | None
    work_s: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class JobFigures:
    """The job on all clips, once, at the speed of its steady state; start_s: seconds before and after its work."""

    rows: int
    seconds: float
    start_s: float
    run: JobFacts


@dataclass(frozen=True, kw_only=True)
class LabelResult:
    """Ratios of the job's seconds: over_floor, in its steady state, and over_floor_whole_run, to the floor; over_decode to the
    bare decoding of pictures and sound; over_video_decode to that of pictures; over_peer to the plain script.
    left_out: clip -> why it cannot be labelled."""

    clips: int
    frames: int
    faces: int
    cores: int
    floor: FloorFigures
    job: JobFigures
    peer: ScriptRun
    over_floor: float
    over_floor_limit: float = LIMIT_OVER_FLOOR
    over_floor_whole_run: float
    over_peer: float
    over_decode: float
    over_decode_limit: float = LIMIT_OVER_DECODE
    over_video_decode: float
    gpu: GpuFigures | None
    left_out: dict[str, str]


def bench_label(options: BenchLabel, record: RunRecord) -> LabelResult:
    weights = detector_weights(DEFAULT_DETECTOR), teacher_weights(DEFAULT_TEACHER)
    device = local_device(options.gpu)
    cores, found = local_cores(), chosen_clips(options.data, options.clips)
    gpu = None
    if options.gpu:
        with record.stage("gpu"), processes(1) as pool:
            gpu = pool.submit(gpu_figures, weights[1]).result()
    with bare_workers(found[0], weights, cores) as bare_work:
        with record.stage("floor"):
            first, left_out = bare_work(found)
        if not first:
            raise UserError(
                f"{options.data}: no clip of {len(left_out)} can be labelled; give a folder with talking faces"
            )
        paths, busy = sorted(first), spread(first, cores)
        passes = max(3, math.ceil(options.work_s / _floor_s(with_cheaper_ways([first]), cores, gpu)))
        log.info("%d clips, %d left out; the job labels them %d times", len(paths), len(left_out), passes)
        with record.stage("job and floor"):
            run, floors = job_and_floors(paths * passes, options.slice_s, lambda: _whole(*bare_work(busy)), options.gpu)
    with record.stage("peer"), processes(1) as pool:
        peer = pool.submit(labelled_by_script, paths, *weights, device).result()
    floors = with_cheaper_ways(floors or [first])
    return _compared(run, floors, peer, cores=cores, gpu=gpu, left_out=left_out)


def _compared(
    run: JobTiming,
    floors: Sequence[Spent],
    peer: ScriptRun,
    *,
    cores: int,
    gpu: GpuFigures | None,
    left_out: dict[str, str],
) -> LabelResult:
    clips = len(floors[0])
    pass_s = run.steady_s / run.rows * clips
    floor_s = _floor_s(floors, cores, gpu)
    plain_s, video_s = (bare_s(floors, parts) / cores for parts in (PLAIN_PARTS, PLAIN_PARTS[:1]))
    each = [_floor_s([floor], cores, gpu) for floor in floors]
    return LabelResult(
        clips=clips,
        frames=round(sum(clip["frames"] for clip in floors[0].values())),
        faces=_faces(floors[0]),
        cores=cores,
        floor=FloorFigures(
            rows=clips,
            seconds=round(floor_s, 3),
            each=[round(seconds, 3) for seconds in each],
            standard_error=_standard_error(each),
            work_s={part: round(bare_s(floors, [part]), 3) for part in PARTS},
        ),
        job=JobFigures(rows=clips, seconds=round(pass_s, 3), start_s=round(run.start_s, 2), run=run.facts()),
        peer=peer,
        over_floor=round(pass_s / floor_s, 3),
        over_floor_whole_run=round(run.worked_s / run.rows * clips / floor_s, 3),
        over_peer=round(pass_s / peer.seconds, 3),
        over_decode=round(pass_s / plain_s, 3),
        over_video_decode=round(pass_s / video_s, 3),
        gpu=gpu,
        left_out=left_out,
    )


def _floor_s(floors: Sequence[Spent], cores: int, gpu: GpuFigures | None) -> float:
    """Wall seconds of one pass: all steps perfectly distributed over the cores, or the longer of what the cores and the GPU
    do side by side."""
    if gpu is None:
        return bare_s(floors, FLOOR_PARTS) / cores
    return max(bare_s(floors, CPU_PARTS) / cores, _faces(floors[0]) / gpu.teachers[DEFAULT_TEACHER].images_per_s)


def _faces(floor: Spent) -> int:
    return int(sum(clip["faces"] for clip in floor.values()))


def _whole(spent: Spent, left_out: dict[str, str]) -> Spent:
    if left_out:
        raise RuntimeError(f"clips that could be labelled before could not be now: {left_out}")
    return spent


def _standard_error(values: Sequence[float]) -> float | None:
    return round(statistics.stdev(values) / math.sqrt(len(values)), 3) if len(values) > 1 else None
