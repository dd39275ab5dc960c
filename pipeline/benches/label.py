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
from cluster.session import is_remote
from modeling.teachers.load import DEFAULT_TEACHER
from pipeline.assets.weights import DEFAULT_DETECTOR, detector_weights, teacher_weights
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
from pipeline.benches.measuring import BenchOptions, chosen_clips

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
class BenchLabel(BenchOptions):
    """Labels the clips of a folder and compares the time with a floor and a peer on the same files.

    The floor is the bare work: decoding (the cheaper of a plain PyAV loop and the job's own sampling), the sound, the
    detector on the frames that the job searches, the teacher on the job's crops; each in as many processes as there are
    cores, perfectly distributed. The peer is a plain script: decord, `predict_jsons` of retinaface-pytorch around the same
    network, one teacher pass per frame. Each clip is one utterance.

    The job labels all clips over and over for some minutes, in its own processes. After every `--slice-s` seconds of its
    work, they are all paused while the floor is measured on the same clips (once, or repeatedly if one clip is so long that
    cores would idle). So a machine whose speed drifts, as cloud machines do, slows both alike. The result is the steady
    state: the seconds of work that the stages do per second, from the first part on storage until tasks run out.
    `over_floor_whole_run` includes the filling of the plan at the start and its draining at the end. start_s is the time
    before and after that: Ray's start and the audit.
    """

    data: str
    """Folder with videos on this machine, at any depth. Clips that cannot be labelled are listed and left out."""
    out: str | None = None
    """Folder for bench_label.json, which `emovox plan --rates` reads."""
    work_s: float = 100.0
    """The job repeats the clips until the floor for them is about this many seconds, and at least three times."""
    slice_s: float = 10.0
    """Seconds of the job's work between two measurements of the floor."""
    clips: int | None = None
    """Use at most this many clips, spread evenly over the folder. Default: all."""
    gpu: bool = False
    """Run the job's teacher on a GPU. The floor is then the longer of two things done side by side: decoding and detection on
    the cores, and the teacher at the images per second that the GPU reaches by itself. The result `gpu` gives this rate, and
    the ceiling set by a bare matrix product. The plain script runs both networks on the GPU."""

    def __post_init__(self):
        for name in ("work_s", "slice_s", "clips"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise UserError(f"{name} is {getattr(self, name)}; give more than 0")
        if is_remote(self.address):
            raise UserError(
                "this bench is of one machine, whose processes stand still at times; leave out --address and RAY_ADDRESS"
            )


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
