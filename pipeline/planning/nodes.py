"""The nodes of a plan, as the user writes them, and whether the workers fit on them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.budget import EMBEDDED_EXTRA_CPUS, require_room
from cluster.failures import UserError
from pipeline.labelling.placement import LabelPlan

NODE_SYNTAX = re.compile(r"(\d+)x(\d+)cpu(?:(\d+)gpu)?", re.IGNORECASE)


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
        """Reads `8x16cpu` or `2x8cpu1gpu`. Raises UserError for anything else."""
        found = NODE_SYNTAX.fullmatch(text)
        count, cpus, gpus = (int(number or 0) for number in found.groups()) if found else (0, 0, 0)
        if count < 1 or cpus < 1:
            raise UserError(
                f"nodes {text!r} is not understood; write NUMBERxCPUScpu[GPUSgpu], as in 8x16cpu 2x8cpu1gpu"
            )
        return cls(count, cpus, gpus, usd_per_hour)


def require_room_on(nodes: Sequence[Nodes], *, croppers: int, teachers: int, gpus: int) -> None:
    """Raises the UserError of `emovox label` if it would refuse these workers on these nodes."""
    label = LabelPlan(crop_workers=croppers, teacher_workers=teachers or None, gpus_per_teacher=1.0 if gpus else 0.0)
    extra_cpus = EMBEDDED_EXTRA_CPUS if sum(kind.count for kind in nodes) == 1 else 0  # perhaps an embedded session
    offers = [
        {"CPU": float(kind.cpus + extra_cpus), "GPU": float(kind.gpus)} for kind in nodes for _ in range(kind.count)
    ]
    require_room(label.stages(croppers), offers)
