"""What a stage needs, and whether a cluster can provide it. Plain arithmetic, without Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster.failures import UserError

GIB = 2**30

EMBEDDED_EXTRA_CPUS = 2
"""Logical CPUs that the embedded session declares beyond the number of cores. The widest stage takes one worker per core;
these are for one more stage or the read tasks (Ray waits silently for a CPU that actors hold). More would only start idle
Python processes."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One actor pool of a plan. cpus, gpus, memory and resources are per worker and may be fractions.

    memory: bytes of heap; 0 declares nothing. resources: custom resources that nodes were started with (`ray start
    --resources`, `rayStartParams` in KubeRay). most_workers: the size the pool may grow to as nodes join; None: `workers`.
    """

    name: str
    workers: int
    cpus: float = 1.0
    gpus: float = 0.0
    memory: int = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    most_workers: int | None = None

    def needs(self) -> dict[str, float]:
        """Ray resource name -> amount that one worker needs."""
        named = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(self.memory), **self.resources}
        return {name: amount for name, amount in named.items() if amount}


def require_room(stages: Sequence[Stage], nodes: Sequence[Mapping[str, float]], task_cpus: float = 0.0) -> None:
    """Raises a UserError that names the stage and what is missing if `nodes` cannot hold the plan.

    nodes: for each living node, a mapping of Ray resource names ("CPU", "GPU", "memory", custom ones) to amounts.
    task_cpus: CPUs to leave free of actors in a plan that also has read tasks, which would otherwise wait forever.
    """
    free = [dict(node) for node in nodes]
    for stage in sorted(stages, key=lambda stage: len(stage.needs()), reverse=True):
        if not any(_fits(stage.needs(), node) for node in nodes):
            raise UserError(
                f"stage {stage.name!r} needs a node with {_amounts(stage.needs())} for each worker; of {len(nodes)} nodes "
                f"{_closest(stage.needs(), nodes)}. Add such a node or ask for less"
            )
        placed = sum(_placed(stage.needs(), free) for _ in range(stage.workers))
        if placed < stage.workers:
            raise UserError(
                f"stage {stage.name!r} needs {stage.workers} workers of {_amounts(stage.needs())} each; the {len(nodes)} "
                f"nodes have room for {placed} beside the other stages. Use fewer workers or a larger cluster"
            )
    left = sum(node.get("CPU", 0.0) for node in free)
    if left < task_cpus:
        raise UserError(
            f"the plan ({_plan(stages)}) leaves {left:g} CPU for the tasks that read, which need {task_cpus:g}. "
            "Use fewer workers or a larger cluster"
        )


def room_for(stage: Stage, others: Sequence[Stage], nodes: Sequence[Mapping[str, float]]) -> int:
    """How many workers of `stage` fit on `nodes` beside the other stages; 0 if none does."""
    free = [dict(node) for node in nodes]
    for other in others:
        for _ in range(other.workers):
            _placed(other.needs(), free)
    workers = 0
    while stage.needs() and _placed(stage.needs(), free):
        workers += 1
    return workers


def _placed(needs: Mapping[str, float], free: list[dict[str, float]]) -> bool:
    """Subtracts the needs of one worker from a node: of those where it fits, the one that offers the least besides."""
    fitting = [node for node in free if _fits(needs, node)]
    if not fitting:
        return False
    chosen = min(fitting, key=lambda node: (sum(1 for name in node if name not in needs), node.get("CPU", 0.0)))
    for name, amount in needs.items():
        chosen[name] -= amount
    return True


def _fits(needs: Mapping[str, float], node: Mapping[str, float]) -> bool:
    return all(node.get(name, 0.0) >= amount - 1e-6 for name, amount in needs.items())  # sums of fractions are inexact


def _closest(needs: Mapping[str, float], nodes: Sequence[Mapping[str, float]]) -> str:
    """Describes the node that meets the most of the needs: how much it has of each."""
    best = max(nodes, key=lambda node: sum(_fits({name: amount}, node) for name, amount in needs.items()), default={})
    return f"the nearest has {_amounts({name: best.get(name, 0.0) for name in needs})}"


def _amounts(needs: Mapping[str, float]) -> str:
    return ", ".join(
        f"{amount / GIB:.3g} GiB of memory" if name == "memory" else f"{amount:g} {name}"
        for name, amount in needs.items()
    )


def _plan(stages: Sequence[Stage]) -> str:
    return ", ".join(f"{stage.workers} x {stage.name}" for stage in stages)
