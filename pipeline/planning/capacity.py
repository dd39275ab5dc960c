"""How long a labelling run takes on given nodes, what it stores and costs, and which stage limits it. Plain arithmetic.

A stage's hours are its work divided by the workers that the nodes have for it. Stages work at the same time, so the slowest
one determines the run; `Rates.overhead` is the ratio of a real run to this ideal.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cluster.failures import UserError
from pipeline.dataset.parts import part_rows
from pipeline.labelling.tasks import TASKS_PER_WORKER
from pipeline.planning.nodes import Nodes
from pipeline.planning.workload import Workload

PARTS_AT_A_CROPPER = 3
"""Packed parts of crops in the object store per cropping process: two tasks in flight at the next stage and the one that is
being made."""

COPIES_AT_A_CROPPER = 3
"""Source files on a node's disk per cropping process (`pipeline/media/source_files.py`)."""


@dataclass(frozen=True, kw_only=True)
class Rates:
    """The work for an utterance of `utterance_s` seconds. core_s: seconds of one CPU core.

    source: where the figures come from, and on what hardware. fetch, decode: reading the media and making frames and sound;
    detect: faces, tracks, crops, FLAC; teacher: its network on a CPU core. images_per_s: the teacher's crops per second on
    one GPU, None if no GPU was measured. overhead: wall time of a real run over the ideal, 1 or more. start_s: from the
    start of a job to its first written part. bytes_in: bytes of video, None if unknown.
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

    def crop_core_s(self) -> float:
        """Core seconds of everything before the teacher."""
        return self.fetch_core_s + self.decode_core_s + self.detect_core_s

    def of_length(self, utterance_s: float) -> "Rates":
        """The rates for utterances of another length. Everything but the start is proportional to it."""
        factor = utterance_s / self.utterance_s
        grows = "faces fetch_core_s decode_core_s detect_core_s teacher_core_s bytes_in bytes_out".split()
        scaled = {name: value * factor for name in grows if (value := getattr(self, name)) is not None}
        return replace(self, utterance_s=utterance_s, **scaled)


@dataclass(frozen=True, kw_only=True)
class StorageNeeds:
    """Bytes in and out, requests to the storage, and the object store (if crops go to separate teacher processes) and disk
    that each node needs; None if the rates do not say."""

    bytes_in: float | None
    bytes_out: float | None
    reads: int
    writes: int
    object_store_bytes_a_node: float
    disk_bytes_a_node: float | None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """hours_alone: of each stage, if the others took no time. hours: of the whole run. limits: the slowest stage. margin:
    its time relative to the next slowest (None if there is only one)."""

    hours: float
    hours_alone: Mapping[str, float]
    limits: str
    margin: float | None
    croppers: int
    teachers: int
    gpus: int
    cores_for_each_gpu: float | None
    storage: StorageNeeds
    usd: float | None


def estimate(
    workload: Workload,
    rates: Rates,
    nodes: Sequence[Nodes],
    *,
    crop_workers: int | None = None,
    teacher_workers: int | None = None,
    gbit_per_node: float | None = None,
) -> Plan:
    """The run on these nodes. Their GPUs run the teacher if the rates include one: all GPUs, or `teacher_workers` of them.

    teacher_workers: None: one per GPU; without GPUs none, since the teacher then runs in the cropping processes.
    crop_workers: None: one per core that no teacher uses. A cropping process decodes one utterance while it does the rest
    for another, so it is as slow as the slower of the two. gbit_per_node: network speed; None: ignored.
    """
    rates = rates.of_length(workload.utterance_s)
    cores, gpus = sum(kind.count * kind.cpus for kind in nodes), sum(kind.count * kind.gpus for kind in nodes)
    gpus = min(gpus, teacher_workers or gpus) if rates.images_per_s else 0
    teachers = teacher_workers or gpus
    croppers = crop_workers or max(1, cores - teachers)
    hours = {
        name: workload.utterances * seconds * rates.overhead / 3600
        for name, seconds in seconds_an_utterance(
            rates, cores=cores, gpus=gpus, croppers=croppers, teachers=teachers
        ).items()
    }
    bytes_in = workload.bytes_in or (rates.bytes_in and rates.bytes_in * workload.utterances)
    if gbit_per_node and bytes_in:
        hours["network"] = bytes_in * 8 / (gbit_per_node * 1e9 * sum(kind.count for kind in nodes)) / 3600
    longest, *others = sorted(hours, key=lambda name: hours[name], reverse=True)
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
        storage=_storage(
            workload,
            rates,
            bytes_in=bytes_in,
            croppers=croppers,
            nodes=sum(kind.count for kind in nodes),
            crops_travel=bool(teachers),
        ),
        usd=total * prices if prices else None,
    )


def seconds_an_utterance(rates: Rates, *, cores: int, gpus: int, croppers: int, teachers: int) -> dict[str, float]:
    """Stage -> wall seconds per utterance, all its workers together. teachers: 0 if the teacher runs in the croppers."""
    beside_decoding_s = rates.detect_core_s + (0.0 if teachers else rates.teacher_core_s)
    one_cropper_s = max(rates.fetch_core_s + rates.decode_core_s, beside_decoding_s)
    if gpus and rates.images_per_s:
        cpu_s = max(rates.crop_core_s() / max(1, cores - gpus), one_cropper_s / croppers)
        return {"decode, detect, crop": cpu_s, "teacher on GPUs": rates.faces / (rates.images_per_s * gpus)}
    all_s = (rates.crop_core_s() + rates.teacher_core_s) / cores
    return {
        "all cores": all_s,
        "cropping processes": one_cropper_s / croppers,
        **({"teacher processes": rates.teacher_core_s / teachers} if teachers else {}),
    }


def _cores_for_each_gpu(rates: Rates) -> float | None:
    """CPU cores that keep one GPU's teacher busy: its images per second times the core seconds spent before each image."""
    if not rates.images_per_s or not rates.faces:
        return None
    return rates.images_per_s * rates.crop_core_s() / rates.faces


def _storage(
    workload: Workload, rates: Rates, *, bytes_in: float | None, croppers: int, nodes: int, crops_travel: bool
) -> StorageNeeds:
    videos = workload.videos or workload.utterances
    croppers_a_node = croppers / nodes
    rows = min(
        part_rows(workload.utterances, int(rates.crop_bytes)),
        math.ceil(workload.utterances / (croppers * TASKS_PER_WORKER)),
    )
    part_bytes = rows * (rates.faces * rates.crop_bytes + (rates.bytes_out or 0.0))
    return StorageNeeds(
        bytes_in=bytes_in,
        bytes_out=rates.bytes_out and rates.bytes_out * workload.utterances,
        reads=videos,
        writes=math.ceil(workload.utterances / rows),
        object_store_bytes_a_node=croppers_a_node * PARTS_AT_A_CROPPER * part_bytes * crops_travel,
        disk_bytes_a_node=bytes_in and croppers_a_node * COPIES_AT_A_CROPPER * bytes_in / videos,
    )


def smallest_fleet(
    workload: Workload, rates: Rates, nodes: Sequence[Nodes], *, hours: float, gbit_per_node: float | None = None
) -> list[Nodes]:
    """The smallest number of nodes that finishes within `hours`: first the nodes with GPUs that the teacher needs, then nodes
    of the first kind without GPUs (of the first kind, if all have some). Raises UserError if no number is enough."""
    gpu_kind = next((place for place, kind in enumerate(nodes) if kind.gpus and rates.images_per_s), None)
    cpu_kind = next((place for place, kind in enumerate(nodes) if not kind.gpus), 0)
    counts = [1 if place in (gpu_kind, cpu_kind) else 0 for place in range(len(nodes))]
    while True:
        kinds = [replace(kind, count=count) for kind, count in zip(nodes, counts, strict=True) if count]
        plan = estimate(workload, rates, kinds, gbit_per_node=gbit_per_node)
        if plan.hours <= hours:
            return kinds
        if rates.start_s / 3600 >= hours:
            raise UserError(f"hours is {hours:g}, and the start alone takes {rates.start_s:.0f} s; give more hours")
        place = cpu_kind if gpu_kind is None or plan.limits != "teacher on GPUs" else gpu_kind
        excess = plan.hours_alone[plan.limits] / (hours - rates.start_s / 3600)
        counts[place] = max(counts[place] + 1, math.floor(counts[place] * min(excess, 1.5)))


def student_hours(
    workload: Workload, *, steps_per_s: float, epochs: int, fraction_per_epoch: float, windows: int, batch: int
) -> float:
    """Hours of a training that visits `fraction_per_epoch` of the utterances in each epoch, and `windows` in each of them."""
    steps_per_epoch = math.ceil(workload.utterances * fraction_per_epoch * windows / batch)
    return epochs * steps_per_epoch / steps_per_s / 3600
