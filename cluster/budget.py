"""What a stage needs and whether a cluster has it; arithmetic only, no Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.failures import UserError


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One actor pool of a plan. cpus and gpus are for each worker and may be fractions."""

    name: str
    workers: int
    cpus: float = 1.0
    gpus: float = 0.0


TASK_CPUS = 2.0
"""CPUs kept free of actors for the plan's reading and writing tasks; without them a plan waits for ever."""


def require_room(stages: Sequence[Stage], nodes: Sequence[Mapping[str, float]]) -> None:
    """Raises UserError that names the stage and the lack if the plan cannot be placed on `nodes`.

    nodes: one mapping of Ray resource names ("CPU", "GPU") to amounts for each node that is alive.
    """
    for stage in stages:
        if not any(node.get("CPU", 0) >= stage.cpus and node.get("GPU", 0) >= stage.gpus for node in nodes):
            largest = max(nodes, key=lambda node: (node.get("GPU", 0), node.get("CPU", 0)), default={})
            raise UserError(
                f"stage {stage.name!r} needs a node with {stage.cpus:g} CPU and {stage.gpus:g} GPU for each worker; "
                f"the largest of {len(nodes)} nodes has {largest.get('CPU', 0):g} CPU and {largest.get('GPU', 0):g} GPU. "
                "Add such a node or ask for less"
            )
    for resource, reserve in (("CPU", TASK_CPUS), ("GPU", 0.0)):
        need = sum(stage.workers * (stage.cpus if resource == "CPU" else stage.gpus) for stage in stages)
        have = sum(node.get(resource, 0) for node in nodes)
        if need and need + reserve > have:
            plan = ", ".join(f"{stage.workers} x {stage.name}" for stage in stages)
            raise UserError(
                f"the plan ({plan}) needs {need + reserve:g} {resource}, of which {reserve:g} for reading and writing; "
                f"the cluster has {have:g}. Use fewer workers or a larger cluster"
            )
