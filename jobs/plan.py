"""Measured rates + nodes -> hours, nodes, storage and cost of a labelling run."""

import dataclasses
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.run_record import RunRecord
from modeling.distillation.recipes import STUDENT_RECIPES
from pipeline.planning.capacity import Rates, estimate, smallest_fleet, student_hours
from pipeline.planning.nodes import Nodes, require_room_on
from pipeline.planning.rates import read_rates, reference_rates, steps_per_s
from pipeline.planning.table import fleet_line, plan_table, training_line
from pipeline.planning.workload import DATASETS, Workload, manifest_workload

REFERENCE_KINDS = {"voxceleb2": "face_tracks", "voxceleb1-wavs": "wavs"}
"""Dataset -> the kind of `reference_rates`; `scenes` for all others."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PlanOptions(JobOptions):
    """How long will labelling take, on how many nodes, at what cost, and which stage limits it?

        emovox plan --dataset voxceleb2 --nodes 8x16cpu 2x8cpu1gpu --rates labels/run.json --hours 6

    The answer depends on the rates. Label about 200 of your own utterances on a node like those you will rent, and give that
    set's run.json. Without --rates, the plan uses the rates of the machine named in reference_rates.json, which is not
    yours. The plan assumes that work grows with the seconds of an utterance, and takes start-up time and overhead from the
    rates. The table goes to stderr, the JSON to stdout. Nothing is started (--address has no effect).
    """

    utterances: int | None = None
    """Number of utterances; or give --manifest or --dataset."""
    manifest: str | None = None
    """Manifest whose utterances are counted; path or s3:// URI."""
    dataset: Literal[tuple(DATASETS)] | None = None  # pyright: ignore[reportInvalidTypeForm]
    """A published set whose counts and mean length are known."""
    utterance_s: float | None = None
    """Mean seconds per utterance. Default: the dataset's, or the manifest's if it has lengths, else that of the rates."""
    nodes: tuple[str, ...] = ("1x8cpu",)
    """Worker nodes by kind: NUMBERxCPUScpu, or NUMBERxCPUScpuGPUSgpu with GPUs. `8x16cpu 2x8cpu1gpu` is 8 nodes with 16
    cores each and 2 with 8 cores and one GPU each. The head does no work and is not counted."""
    rates: str | None = None
    """run.json of a labelling run, bench_label.json, or the JSON of an earlier plan. Default: the reference rates."""
    images_per_s: float | None = None
    """Crops per second of the teacher on one of these GPUs. Without it, the plan does not use the GPUs."""
    crop_workers: int | None = None
    """As in `emovox label`. Default: the cores that the teacher leaves free."""
    teacher_workers: int | None = None
    """As in `emovox label`. Default: one for each GPU of the plan, none without GPUs."""
    gbit_per_node: float | None = None
    """Network speed of each node in Gbit/s, to check whether it limits. Default: the network is ignored."""
    hours: float | None = None
    """Also say how many nodes of these kinds finish within this many hours, with a worker on each core."""
    usd_per_node_hour: tuple[float, ...] = ()
    """Hourly price in USD of a node of each kind, in the order of --nodes."""
    train_rates: str | None = None
    """bench_train.json, to estimate the hours of training too."""
    recipe: Literal[tuple(STUDENT_RECIPES)] = "compact"  # pyright: ignore[reportInvalidTypeForm]
    """Recipe of that training."""

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
    workload, nodes = _workload(options, rates), _nodes(options)
    if any(kind.gpus for kind in nodes) and rates.images_per_s is None:
        log.warning("the GPUs are left out of the plan: their rate is not known; give --images-per-s")
    estimated = estimate(
        workload,
        rates,
        nodes,
        crop_workers=options.crop_workers,
        teacher_workers=options.teacher_workers,
        gbit_per_node=options.gbit_per_node,
    )
    too_many_gpus = estimated.gpus and any(kind.gpus > kind.cpus for kind in nodes)
    if options.crop_workers or options.teacher_workers or too_many_gpus:
        require_room_on(nodes, croppers=estimated.croppers, teachers=estimated.teachers, gpus=estimated.gpus)
    print(plan_table(workload, rates, nodes, estimated, rates_are_foreign=is_reference), file=sys.stderr)
    fleet = _fleet(options, workload, rates, nodes)
    training = _training_hours(options, workload)
    if training is not None:
        print(training_line(training, options.recipe), file=sys.stderr)
    return {
        "load": workload,
        "nodes": [str(kind) for kind in nodes],
        **json_ready(estimated),
        "nodes_within_hours": fleet and [str(kind) for kind in fleet],
        "training_hours": training,
        "rates": rates,
        "rates_are_of_another_machine": is_reference,
    }


def _rates(options: PlanOptions) -> tuple[Rates, bool]:
    """The rates, and whether they are the reference rates, which are another machine's."""
    if options.rates:
        rates = read_rates(options.rates)
    else:
        rates = reference_rates(REFERENCE_KINDS.get(options.dataset or "", "scenes"))
        log.warning(
            "NO RATES GIVEN: this plan holds for another machine and other clips than yours (%s). Label some 200 "
            "utterances of your own and give --rates LABELS/run.json",
            rates.source,
        )
    if options.images_per_s:
        rates = dataclasses.replace(rates, images_per_s=options.images_per_s)
    return rates, options.rates is None


def _workload(options: PlanOptions, rates: Rates) -> Workload:
    if options.dataset:
        workload = DATASETS[options.dataset]
    elif options.manifest:
        workload = manifest_workload(options.manifest, rates.utterance_s)
    else:
        workload = Workload(name="utterances", utterances=options.utterances or 0, utterance_s=rates.utterance_s)
    return dataclasses.replace(workload, utterance_s=options.utterance_s or workload.utterance_s)


def _nodes(options: PlanOptions) -> list[Nodes]:
    prices = options.usd_per_node_hour or (0.0,) * len(options.nodes)
    return [Nodes.read(text, price) for text, price in zip(options.nodes, prices, strict=True)]


def _fleet(options: PlanOptions, workload: Workload, rates: Rates, nodes: list[Nodes]) -> list[Nodes] | None:
    """Prints and returns the nodes that finish within --hours; None without --hours."""
    if not options.hours:
        return None
    fleet = smallest_fleet(workload, rates, nodes, hours=options.hours, gbit_per_node=options.gbit_per_node)
    then = estimate(workload, rates, fleet, gbit_per_node=options.gbit_per_node)
    print(fleet_line(options.hours, fleet, then), file=sys.stderr)
    return fleet


def _training_hours(options: PlanOptions, workload: Workload) -> float | None:
    if options.train_rates is None:
        return None
    recipe = STUDENT_RECIPES[options.recipe]()
    return student_hours(
        workload,
        steps_per_s=steps_per_s(options.train_rates),
        epochs=recipe.epochs,
        fraction_per_epoch=recipe.fraction_per_epoch,
        windows=recipe.windows_per_utterance,
        batch=recipe.batch_size,
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("plan", PlanOptions, plan, argv)


if __name__ == "__main__":
    sys.exit(main())
