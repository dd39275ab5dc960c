"""A plan as the table that `emovox plan` prints."""

from collections.abc import Sequence

from pipeline.planning.capacity import Plan, Rates
from pipeline.planning.nodes import Nodes
from pipeline.planning.workload import Workload

NOT_YOURS = " (NOT YOUR MACHINE)"


def plan_table(workload: Workload, rates: Rates, nodes: Sequence[Nodes], plan: Plan, *, rates_are_foreign: bool) -> str:
    """The workload, the hours of each stage and the limiting one, the options for `emovox label`, storage and cost."""
    length = time_in_words(workload.utterances * workload.utterance_s / 3600)
    lines = [
        f"{workload.name}: {workload.utterances:,} utterances of {workload.utterance_s:.1f} s ({length}) on {names(nodes)}",
        f"  rates           {rates.source}{NOT_YOURS if rates_are_foreign else ''}",
        f"  run             {time_in_words(plan.hours)}{price(plan)}",
        *(_stage_line(name, hours, plan) for name, hours in plan.hours_alone.items()),
        f"  label with      --crop-workers {plan.croppers}"
        + (f" --teacher-workers {plan.teachers}" if plan.teachers else "")
        + (" --gpus-per-teacher 1" if plan.gpus else ""),
    ]
    if plan.cores_for_each_gpu:
        lines.append(f"  CPU to GPU      a GPU needs {plan.cores_for_each_gpu:.1f} cores that decode and crop for it")
    sizes = {
        "videos": plan.storage.bytes_in,
        "set written": plan.storage.bytes_out,
        "object store a node": plan.storage.object_store_bytes_a_node,
        "disk a node": plan.storage.disk_bytes_a_node,
    }
    lines += [f"  {title:<22} {_size(size)}" for title, size in sizes.items()]
    lines.append(f"  requests        {plan.storage.reads:,} files read, {plan.storage.writes:,} written")
    lines += [f"  note            {workload.note}"] if workload.note else []
    return "\n".join(lines)


def fleet_line(hours: float, fleet: Sequence[Nodes], plan: Plan) -> str:
    """The number of nodes that finishes within `hours`, and their plan."""
    return f"  within {hours:g} h   {names(fleet)}: {time_in_words(plan.hours)}{price(plan)}"


def training_line(hours: float, recipe: str) -> str:
    return f"  training        {time_in_words(hours)} with the recipe {recipe}"


def _stage_line(name: str, hours: float, plan: Plan) -> str:
    line = f"  {name:<22} {time_in_words(hours):>12} alone"
    if name == plan.limits:
        line += "  <- limits" + (f", {plan.margin:.1f} times the next" if plan.margin else "")
    return line


def time_in_words(hours: float) -> str:
    if hours < 0.1:
        return f"{hours * 60:.1f} min"
    return f"{hours:.2f} h" if hours < 100 else f"{hours:,.0f} h"


def names(nodes: Sequence[Nodes]) -> str:
    return " ".join(map(str, nodes))


def price(plan: Plan) -> str:
    if plan.usd is None:
        return ""
    return f", {plan.usd:,.2f} USD for the nodes (the head and the storage are not counted)"


def _size(size: float | None) -> str:
    if size is None:
        return "not known"
    return f"{size / 1e9:9.2f} GB" if size >= 1e8 else f"{size / 1e6:9.2f} MB"
