"""How near `emovox label` comes to the bare work it consists of, and how far it is from a plain script."""

import logging
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from cluster import storage
from cluster.command import JobOptions
from cluster.failures import UserError
from cluster.run_record import RunRecord
from cluster.session import local_cores
from modeling.teacher import DEFAULT_TEACHER
from pipeline.benches.label_rounds import (
    FLOOR_PARTS,
    PARTS,
    PLAIN_PARTS,
    Round,
    bare_s,
    bare_work,
    measured_round,
    processes,
)
from pipeline.benches.label_ways import labelled_by_script
from pipeline.clips_layout import SUFFIXES
from pipeline.weights import DEFAULT_DETECTOR, detector_weights, teacher_weights

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

    The job labels all clips `--repeats` times over, and `--longer` times as often. What the longer run takes more is what
    further clips cost; the rest, start and end, is the same in both and is told as start_s. Measured within one run it
    would be wrong: clips that come out late were in part worked on early. Of this there are `--rounds`, every second
    with the longer run first, and the floor is taken before and after every run; each round is compared with its own
    three floors and the median of the rounds counts, so that a machine that others disturb for a while does not decide.
    """

    data: str
    """Folder with videos on this machine, at any depth. Clips that cannot be labelled are listed and left out."""
    out: str | None = None
    """Folder for bench_label.json, which `emovox plan --rates` reads."""
    rounds: int = 3
    """How often the shorter run, the longer run and the floor take turns."""
    repeats: int = 3
    """How often the job's shorter run labels the same clips."""
    longer: int = 3
    """How many times as long the longer run is."""
    clips: int | None = None
    """Take at most so many clips, spread evenly over the folder; left out: all."""

    def __post_init__(self):
        for name in ("rounds", "repeats", "clips"):
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
    rounds: list[Round] = []
    for number in range(options.rounds):
        last_floor = rounds[-1].floors[-1] if rounds else first
        with record.stage(f"round {number + 1}"):
            one = measured_round(
                paths,
                (options.repeats, options.longer),
                weights,
                last_floor,
                long_first=number % 2 == 1,
                address=options.address,
            )
        rounds.append(one)
        log.info("round %d of %d: %.2f times the floor", number + 1, options.rounds, rounds[-1].over(FLOOR_PARTS))
    with record.stage("peer"), processes(1) as pool:
        peer = pool.submit(labelled_by_script, paths, *weights).result()
    return _figures(rounds, peer, cores) | {"left_out": left_out}


def _figures(rounds: Sequence[Round], peer: dict, cores: int) -> dict:
    floors = [rounds[0].floors[0], *(floor for each in rounds for floor in each.floors[1:])]
    pass_s = statistics.median(each.pass_s for each in rounds)
    return {
        "clips": rounds[0].clips,
        "frames": sum(clip["frames"] for clip in floors[0].values()),
        "cores": cores,
        "floor": {
            "rows": rounds[0].clips,
            "seconds": round(statistics.median(bare_s([floor], FLOOR_PARTS) for floor in floors) / cores, 3),
            "each": [round(bare_s([floor], FLOOR_PARTS) / cores, 3) for floor in floors],
            "work_s": {part: round(bare_s(floors, [part]), 3) for part in PARTS},
        },
        "job": {
            "rows": rounds[0].clips,
            "seconds": round(pass_s, 3),
            "each": [round(each.pass_s, 3) for each in rounds],
            "start_s": round(statistics.median(each.start_s for each in rounds), 2),
            "runs": [run.facts() for each in rounds for run in (each.short, each.long)],
        },
        "peer": peer,
        "over_floor": _median_over(rounds, FLOOR_PARTS),
        "over_floor_limit": LIMIT_OVER_FLOOR,
        "over_floor_each": [round(each.over(FLOOR_PARTS), 3) for each in rounds],
        "over_floor_whole_run": round(statistics.median(each.whole_over_floor() for each in rounds), 3),
        "over_peer": round(pass_s / peer["seconds"], 3),
        "over_decode": _median_over(rounds, PLAIN_PARTS),
        "over_decode_limit": LIMIT_OVER_DECODE,
        "over_decode_each": [round(each.over(PLAIN_PARTS), 3) for each in rounds],
        "over_video_decode": _median_over(rounds, PLAIN_PARTS[:1]),
    }


def _median_over(rounds: Sequence[Round], parts: Sequence[str]) -> float:
    return round(statistics.median(each.over(parts) for each in rounds), 3)


def _clips(options: BenchLabel) -> list[str]:
    if not storage.is_local(options.data):
        raise UserError(f"{options.data}: the floor is measured on files of this machine; copy some clips to a folder")
    paths = [file.uri for file in storage.list_files(storage.absolute(options.data), SUFFIXES)]
    if not paths:
        raise UserError(f"{options.data}: no video ({' '.join(SUFFIXES)}) is there; give a folder with some")
    wanted = min(options.clips or len(paths), len(paths))
    return [paths[place * len(paths) // wanted] for place in range(wanted)]
