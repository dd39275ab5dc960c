"""Measured rates + nodes -> hours, nodes, storage and cost of a labelling run."""

import dataclasses
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow.compute as pc

from cluster.budget import require_room
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.run_record import RunRecord
from cluster.session import EMBEDDED_EXTRA_CPUS
from modeling.distillation.recipes import STUDENT_RECIPES
from pipeline.dataset.manifest import read_manifest
from pipeline.labelling.placement import LabelPlan
from pipeline.planning.capacity import DATASETS, Nodes, Plan, Rates, Workload, estimate, smallest_fleet, student_hours
from pipeline.planning.rates import read_rates, reference_rates, steps_per_s

log = logging.getLogger("emovox")


@dataclass(frozen=True, kw_only=True)
class PlanOptions(JobOptions):
    """How long will labelling take, on how many nodes, at what cost, and which stage limits it?

        emovox plan --dataset voxceleb2 --nodes 8x16cpu 2x8cpu1gpu --rates labels/run.json --hours 6

    Rates decide. Label some 200 of your own utterances on a node like those you will rent, and give the run.json of that
    set. Without --rates the figures of the machine that reference_rates.json names are used, which is not yours. Work is
    taken to grow with the seconds of an utterance; a run's start and what it takes beside the bare work come from the rates.
    The table goes to stderr, the JSON to stdout. Nothing is started (--address has no effect).
    """

    utterances: int | None = None
    """How many utterances; or give --manifest or --dataset."""
    manifest: str | None = None
    """Manifest whose utterances are counted, a path or s3:// URI."""
    dataset: Literal[tuple(DATASETS)] | None = None
    """A published set with its counts and mean length."""
    utterance_s: float | None = None
    """Mean seconds of an utterance; left out: the dataset's, the manifest's where it says, else that of the rates."""
    nodes: tuple[str, ...] = ("1x8cpu",)
    """Nodes that work, by kind: NUMBERxCPUScpu, with GPUs NUMBERxCPUScpuGPUSgpu. `8x16cpu 2x8cpu1gpu` are 8 nodes of 16
    cores and 2 of 8 cores and one GPU. The head, which does no work, is not counted."""
    rates: str | None = None
    """run.json of a labelling run, bench_label.json, or the JSON of an earlier plan; left out: the reference."""
    images_per_s: float | None = None
    """Crops a second of the teacher on one of the GPUs; GPUs without it are not used in the plan."""
    crop_workers: int | None = None
    """As in `emovox label`; left out: the cores that the teacher leaves."""
    teacher_workers: int | None = None
    """As in `emovox label`; left out: one for each GPU of the plan, without GPUs none of their own."""
    gbit_per_node: float | None = None
    """Network of each node in Gbit/s, to see whether it limits; left out: not counted."""
    hours: float | None = None
    """Also say how many of these kinds of nodes end within so many hours, with a worker on each of their cores."""
    usd_per_node_hour: tuple[float, ...] = ()
    """Price of a node of each kind, in the order of --nodes."""
    train_rates: str | None = None
    """bench_train.json, to tell the hours of training too."""
    recipe: Literal[tuple(STUDENT_RECIPES)] = "compact"
    """The recipe of that training."""

    def __post_init__(self):
        if sum(given is not None for given in (self.utterances, self.manifest, self.dataset)) != 1:
            raise UserError("give one of --utterances N, --manifest URI and --dataset NAME")
        for name in "utterances utterance_s images_per_s crop_workers teacher_workers gbit_per_node hours".split():
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{name} is {value}; give a finite number above 0")
        if any(not 0 <= price < math.inf for price in self.usd_per_node_hour):
            raise UserError(
                f"usd_per_node_hour is {' '.join(map(str, self.usd_per_node_hour))}; give finite prices of 0 or more"
            )
        if self.usd_per_node_hour and len(self.usd_per_node_hour) != len(self.nodes):
            raise UserError(
                f"{len(self.usd_per_node_hour)} prices for {len(self.nodes)} kinds of nodes; give one for each kind"
            )
        _nodes(self)


def plan(options: PlanOptions, record: RunRecord) -> dict:
    rates, is_reference = _rates(options)
    load = _load(options, rates)
    nodes = _nodes(options)
    if any(kind.gpus for kind in nodes) and rates.images_per_s is None:
        log.warning("the GPUs are left out of the plan: their rate is not known; give --images-per-s")
    result = estimate(load, rates, nodes, options.crop_workers, options.teacher_workers, options.gbit_per_node)
    if options.crop_workers or options.teacher_workers or any(kind.gpus > kind.cpus for kind in nodes if result.gpus):
        _require_room(nodes, result)
    enough = smallest_fleet(load, rates, nodes, options.hours, options.gbit_per_node) if options.hours else None
    training = _training_hours(options, load)
    _show(load, rates, is_reference, nodes, result)
    if enough:
        then = estimate(load, rates, enough, gbit_per_node=options.gbit_per_node)
        print(f"  within {options.hours:g} h   {_names(enough)}: {_time(then.hours)}{_price(then)}", file=sys.stderr)
    if training is not None:
        print(f"  training        {_time(training)} with the recipe {options.recipe}", file=sys.stderr)
    return {
        "load": dataclasses.asdict(load),
        "nodes": [str(kind) for kind in nodes],
        **result.as_dict(),
        "nodes_within_hours": [str(kind) for kind in enough] if enough else None,
        "training_hours": training,
        "rates": dataclasses.asdict(rates),
        "rates_are_of_another_machine": is_reference,
    }


def _rates(options: PlanOptions) -> tuple[Rates, bool]:
    """And whether they are the reference's, which are of another machine."""
    if options.rates:
        rates = read_rates(options.rates)
    else:
        rates = reference_rates("face_tracks" if options.dataset == "voxceleb2" else "scenes")
        log.warning(
            "NO RATES GIVEN: this plan holds for another machine and other clips than yours (%s). Label some 200 "
            "utterances of your own and give --rates LABELS/run.json",
            rates.source,
        )
    if options.images_per_s:
        rates = dataclasses.replace(rates, images_per_s=options.images_per_s)
    return rates, options.rates is None


def _load(options: PlanOptions, rates: Rates) -> Workload:
    if options.dataset:
        load = DATASETS[options.dataset]
    elif options.manifest:
        load = _manifest_load(options.manifest, rates.utterance_s)
    else:
        load = Workload(name="utterances", utterances=options.utterances, utterance_s=rates.utterance_s)
    return dataclasses.replace(load, utterance_s=options.utterance_s or load.utterance_s)


def _manifest_load(uri: str, usual_s: float) -> Workload:
    """Mean seconds are those of rows that have an end; `usual_s` where none has."""
    table = read_manifest(uri)
    mean_s = pc.mean(pc.subtract(table["end_s"], table["start_s"])).as_py()
    videos = pc.count_distinct(table["video_uri"]).as_py()
    return Workload(name=uri, utterances=len(table), utterance_s=mean_s or usual_s, videos=videos)


def _nodes(options: PlanOptions) -> list[Nodes]:
    prices = options.usd_per_node_hour or (0.0,) * len(options.nodes)
    return [Nodes.read(text, price) for text, price in zip(options.nodes, prices, strict=True)]


def _training_hours(options: PlanOptions, load: Workload) -> float | None:
    if options.train_rates is None:
        return None
    recipe = STUDENT_RECIPES[options.recipe]()
    return student_hours(
        load,
        steps_per_s(options.train_rates),
        recipe.epochs,
        recipe.fraction_per_epoch,
        recipe.windows_per_utterance,
        recipe.batch_size,
    )


def _show(load: Workload, rates: Rates, is_reference: bool, nodes: Sequence[Nodes], result: Plan) -> None:
    """The plan as a table on stderr."""
    length = _time(load.utterances * load.utterance_s / 3600)
    lines = [
        f"{load.name}: {load.utterances:,} utterances of {load.utterance_s:.1f} s ({length}) on {_names(nodes)}",
        f"  rates           {rates.source}{' (NOT YOUR MACHINE)' if is_reference else ''}",
        f"  run             {_time(result.hours)}{_price(result)}",
        *(
            f"  {name:<22} {_time(hours):>12} alone{'  <- limits' if name == result.limits else ''}"
            + (f", {result.margin:.1f} times the next" if name == result.limits and result.margin else "")
            for name, hours in result.hours_alone.items()
        ),
        f"  label with      --crop-workers {result.croppers}"
        + (f" --teacher-workers {result.teachers}" if result.teachers else "")
        + (" --gpus-per-teacher 1" if result.gpus else ""),
    ]
    if result.cores_for_each_gpu:
        lines.append(f"  CPU to GPU      a GPU needs {result.cores_for_each_gpu:.1f} cores that decode and crop for it")
    names = {
        "bytes_in": "videos",
        "bytes_out": "set written",
        "object_store_bytes_a_node": "object store a node",
        "disk_bytes_a_node": "disk a node",
    }
    lines += [f"  {title:<22} {_size(result.storage[name])}" for name, title in names.items()]
    lines.append(f"  requests        {result.storage['reads']:,} files read, {result.storage['writes']:,} written")
    lines += [f"  note            {load.note}"] if load.note else []
    print("\n".join(lines), file=sys.stderr)


def _require_room(nodes: Sequence[Nodes], result: Plan) -> None:
    """Raises UserError, in the words of `emovox label`, where that would refuse so many workers on these nodes."""
    label = LabelPlan(
        crop_workers=result.croppers,
        teacher_workers=result.teachers or None,
        gpus_per_teacher=1.0 if result.gpus else 0.0,
    )
    extra_cpus = EMBEDDED_EXTRA_CPUS if sum(kind.count for kind in nodes) == 1 else 0  # it may be a session of its own
    offers = [
        {"CPU": float(kind.cpus + extra_cpus), "GPU": float(kind.gpus)} for kind in nodes for _ in range(kind.count)
    ]
    require_room(label.stages(result.croppers), offers)


def _time(hours: float) -> str:
    if hours < 0.1:
        return f"{hours * 60:.1f} min"
    return f"{hours:.2f} h" if hours < 100 else f"{hours:,.0f} h"


def _names(nodes: Sequence[Nodes]) -> str:
    return " ".join(map(str, nodes))


def _price(result: Plan) -> str:
    return (
        ""
        if result.usd is None
        else f", {result.usd:,.2f} USD for the nodes (the head and the storage are not counted)"
    )


def _size(size: float | None) -> str:
    if size is None:
        return "not known"
    return f"{size / 1e9:9.2f} GB" if size >= 1e8 else f"{size / 1e6:9.2f} MB"


def main(argv: Sequence[str] | None = None) -> int:
    return run_job(PlanOptions, plan, argv)


if __name__ == "__main__":
    sys.exit(main())
