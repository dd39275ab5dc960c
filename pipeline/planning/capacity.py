"""How long a labelling run takes on which nodes, what it stores and costs, and which stage limits it: arithmetic only.

A stage's hours are its work divided by what the nodes have for it. Stages work at the same time, so the longest is the
run's; `Rates.overhead` is what a real run took beside this ideal.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from cluster.failures import UserError
from pipeline.dataset.parts import part_rows
from pipeline.labelling.tasks import TASKS_PER_WORKER

PARTS_AT_A_CROPPER = 3
"""Packed parts of crops that wait in the object store for each cropping process: two tasks in flight at the next stage
and the one being made."""

COPIES_AT_A_CROPPER = 3
"""Source files on a node's disk for each cropping process (`pipeline/media/source_files.py`)."""

NODE_SYNTAX = re.compile(r"(\d+)x(\d+)cpu(?:(\d+)gpu)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What an utterance of `utterance_s` seconds takes. core_s: seconds of one CPU core.

    source: where the figures are from, and whose hardware. fetch and decode: to read the media and give frames and sound;
    detect: faces, tracks, crops, FLAC; teacher: its network on a CPU core. images_per_s: crops a second of the teacher on
    one GPU, None where no GPU was measured. overhead: clock time of a real run over the ideal, 1 or more. start_s: from
    the start of a job to its first written part. bytes_in: of video, None where unknown.
    """

    source: str
    utterance_s: float
    faces: float
    decode_core_s: float
    detect_core_s: float
    teacher_core_s: float
    fetch_core_s: float = 0.0
    crop_bytes: float = 48 * 48
    bytes_in: float | None = None
    bytes_out: float | None = None
    images_per_s: float | None = None
    overhead: float = 1.0
    start_s: float = 25.0
    student_steps_per_s: float | None = None

    def crop_core_s(self) -> float:
        """Core seconds of everything before the teacher."""
        return self.fetch_core_s + self.decode_core_s + self.detect_core_s

    def of_length(self, utterance_s: float) -> "Rates":
        """The same for utterances of another length: all but the start grows with it."""
        factor = utterance_s / self.utterance_s
        grows = "faces fetch_core_s decode_core_s detect_core_s teacher_core_s bytes_in bytes_out".split()
        scaled = {name: value * factor for name in grows if (value := getattr(self, name)) is not None}
        return replace(self, utterance_s=utterance_s, **scaled)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is to be labelled. bytes_in: of all videos, None where only the rates tell."""

    name: str
    utterances: int
    utterance_s: float
    videos: int | None = None
    bytes_in: float | None = None
    note: str = ""


VOXCELEB1 = Workload(
    name="voxceleb1",
    utterances=153_516,
    utterance_s=8.2,
    videos=22_496,
    note="VoxCeleb1 gives boxes or face pictures, so no detector runs; its videos are whole scenes of any size.",
)
VOXCELEB2 = Workload(
    name="voxceleb2",
    utterances=1_128_246,
    utterance_s=7.8,
    videos=1_128_246,
    bytes_in=257e9,
    note="VoxCeleb2's videos are 224x224 face tracks, one a file: no detector runs, and they decode fast.",
)
DATASETS = {load.name: load for load in (VOXCELEB1, VOXCELEB2)}
"""Counts and mean seconds as published (Nagrani et al. 2017, table 1; Chung et al. 2018, table 2). VoxCeleb2 was cut from
150,480 videos; its mp4 archives have about 249 GB (dev) and 8 GB (test)."""


@dataclass(frozen=True)
class Nodes:
    """`count` nodes of one kind."""

    count: int
    cpus: int
    gpus: int = 0
    usd_per_hour: float = 0.0

    def __str__(self) -> str:
        return f"{self.count}x{self.cpus}cpu" + (f"{self.gpus}gpu" if self.gpus else "")

    @classmethod
    def read(cls, text: str, usd_per_hour: float = 0.0) -> "Nodes":
        """From `8x16cpu` or `2x8cpu1gpu`. Raises UserError."""
        found = NODE_SYNTAX.fullmatch(text)
        count, cpus, gpus = (int(number or 0) for number in found.groups()) if found else (0, 0, 0)
        if count < 1 or cpus < 1:
            raise UserError(
                f"nodes {text!r} is not understood; write NUMBERxCPUScpu[GPUSgpu], as in 8x16cpu 2x8cpu1gpu"
            )
        return cls(count, cpus, gpus, usd_per_hour)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """hours_alone: each stage, if the others took no time. hours: of the whole run. limits: the stage that decides, and
    margin: how many times as long it takes as the next one (None if there is only one)."""

    hours: float
    hours_alone: dict[str, float]
    limits: str
    margin: float | None
    croppers: int
    teachers: int
    gpus: int
    cores_for_each_gpu: float | None
    storage: dict[str, float | None]
    usd: float | None

    def as_dict(self) -> dict:
        return asdict(self)


def estimate(
    load: Workload,
    rates: Rates,
    nodes: Sequence[Nodes],
    crop_workers: int | None = None,
    teacher_workers: int | None = None,
    gbit_per_node: float | None = None,
) -> Plan:
    """The run on these nodes, whose GPUs serve the teacher where the rates know one: all of them, or `teacher_workers`.

    teacher_workers: None: one for each GPU; without GPUs none, since the teacher then works in the cropping processes.
    crop_workers: None: one for each core that no teacher takes. A cropping process decodes one utterance while it does
    the rest for another, so alone it is as slow as the slower of the two. gbit_per_node: network; None: not counted.
    """
    rates = rates.of_length(load.utterance_s)
    cores, gpus = sum(kind.count * kind.cpus for kind in nodes), sum(kind.count * kind.gpus for kind in nodes)
    gpus = min(gpus, teacher_workers or gpus) if rates.images_per_s else 0
    teachers = teacher_workers or gpus
    croppers = crop_workers or max(1, cores - teachers)
    hours = {
        name: load.utterances * seconds * rates.overhead / 3600
        for name, seconds in seconds_an_utterance(rates, cores, gpus, croppers, teachers).items()
    }
    bytes_in = load.bytes_in or (rates.bytes_in and rates.bytes_in * load.utterances)
    if gbit_per_node and bytes_in:
        hours["network"] = bytes_in * 8 / (gbit_per_node * 1e9 * sum(kind.count for kind in nodes)) / 3600
    longest, *others = sorted(hours, key=hours.get, reverse=True)
    total = hours[longest] + rates.start_s / 3600
    prices = sum(kind.count * kind.usd_per_hour for kind in nodes)
    return Plan(
        hours=total,
        hours_alone=hours,
        limits=longest,
        margin=hours[longest] / hours[others[0]] if others and hours[others[0]] else None,
        croppers=croppers,
        teachers=teachers,
        gpus=gpus,
        cores_for_each_gpu=_cores_for_each_gpu(rates),
        storage=_storage(load, rates, bytes_in, croppers, sum(kind.count for kind in nodes), bool(teachers)),
        usd=total * prices if prices else None,
    )


def seconds_an_utterance(rates: Rates, cores: int, gpus: int, croppers: int, teachers: int) -> dict[str, float]:
    """Stage -> seconds of the clock for each utterance, all its workers together. teachers: 0 where the croppers are it."""
    beside_decoding_s = rates.detect_core_s + (0.0 if teachers else rates.teacher_core_s)
    one_cropper_s = max(rates.fetch_core_s + rates.decode_core_s, beside_decoding_s)
    if gpus:
        cpu_s = max(rates.crop_core_s() / max(1, cores - gpus), one_cropper_s / croppers)
        return {"decode, detect, crop": cpu_s, "teacher on GPUs": rates.faces / (rates.images_per_s * gpus)}
    all_s = (rates.crop_core_s() + rates.teacher_core_s) / cores
    return {
        "all cores": all_s,
        "cropping processes": one_cropper_s / croppers,
        **({"teacher processes": rates.teacher_core_s / teachers} if teachers else {}),
    }


def _cores_for_each_gpu(rates: Rates) -> float | None:
    """CPU cores that keep one GPU's teacher busy: its images a second times the core seconds before each image."""
    if not rates.images_per_s or not rates.faces:
        return None
    return rates.images_per_s * rates.crop_core_s() / rates.faces


def _storage(
    load: Workload, rates: Rates, bytes_in: float | None, croppers: int, nodes: int, crops_travel: bool
) -> dict[str, float | None]:
    """Bytes in and out, requests to the storage, and what each node needs of object store (where crops travel to teacher
    processes) and disk."""
    videos = load.videos or load.utterances
    croppers_a_node = croppers / nodes
    rows = min(
        part_rows(load.utterances, int(rates.crop_bytes)), math.ceil(load.utterances / (croppers * TASKS_PER_WORKER))
    )
    part_bytes = rows * (rates.faces * rates.crop_bytes + (rates.bytes_out or 0.0))
    return {
        "bytes_in": bytes_in,
        "bytes_out": rates.bytes_out and rates.bytes_out * load.utterances,
        "reads": videos,
        "writes": math.ceil(load.utterances / rows),
        "object_store_bytes_a_node": croppers_a_node * PARTS_AT_A_CROPPER * part_bytes * crops_travel,
        "disk_bytes_a_node": bytes_in and croppers_a_node * COPIES_AT_A_CROPPER * bytes_in / videos,
    }


def smallest_fleet(
    load: Workload, rates: Rates, nodes: Sequence[Nodes], hours: float, gbit_per_node: float | None = None
) -> list[Nodes]:
    """As few nodes of the given kinds as end within `hours`: first as many with GPUs as the teacher needs, then as many of
    the first kind without GPUs (of the first kind, if all have some). Raises UserError where no number could do it."""
    gpu_kind = next((place for place, kind in enumerate(nodes) if kind.gpus and rates.images_per_s), None)
    cpu_kind = next((place for place, kind in enumerate(nodes) if not kind.gpus), 0)
    counts = [1 if place in (gpu_kind, cpu_kind) else 0 for place in range(len(nodes))]
    while True:
        kinds = [replace(kind, count=count) for kind, count in zip(nodes, counts, strict=True) if count]
        plan = estimate(load, rates, kinds, gbit_per_node=gbit_per_node)
        if plan.hours <= hours:
            return kinds
        if rates.start_s / 3600 >= hours:
            raise UserError(f"hours is {hours:g}, and the start alone takes {rates.start_s:.0f} s; give more hours")
        place = gpu_kind if plan.limits == "teacher on GPUs" else cpu_kind
        excess = plan.hours_alone[plan.limits] / (hours - rates.start_s / 3600)
        counts[place] = max(counts[place] + 1, math.floor(counts[place] * min(excess, 1.5)))


def student_hours(
    load: Workload, steps_per_s: float, epochs: int, fraction_per_epoch: float, windows: int, batch: int
) -> float:
    """Hours of a training that visits `fraction_per_epoch` of the utterances in each epoch, `windows` of each."""
    return epochs * math.ceil(load.utterances * fraction_per_epoch * windows / batch) / steps_per_s / 3600
