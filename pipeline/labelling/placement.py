"""How labelling is distributed over a machine or a cluster: the processes of each stage, and what each needs from a node."""

import logging
from dataclasses import dataclass, field, replace

from cluster.budget import GIB, Stage, room_for
from cluster.cores import local_cores
from cluster.failures import UserError

CROPPER_BYTES = round(1.25 * GIB)
"""Memory of a cropping process with the teacher, plus its decoder: up to 0.9 and 0.2 GiB were seen with clips up to full HD."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Placing:
    """What a cluster's node must offer for a stage to run there."""

    crop_resource: str | None = None
    """Custom resource of the nodes that decode and crop (and run the teacher, if it has no separate processes), such as
    `decode` for nodes started with `ray start --resources '{"decode": 16}'`; each cropping process takes 1. Default: any
    node."""
    teacher_resource: str | None = None
    """Custom resource of the nodes that run the teacher, which then gets separate processes; each takes 1."""
    crop_memory_gib: float = 0.0
    """Memory that Ray reserves for each cropping process, in GiB; 0: none."""
    teacher_memory_gib: float = 0.0
    """Memory that Ray reserves for each teacher process, in GiB; 0: none."""
    max_crop_workers: int | None = None
    """Number up to which the cropping processes grow as nodes join the cluster. Default: they do not grow."""


@dataclass(frozen=True, kw_only=True)
class LabelPlan:
    """How the work is distributed. This changes no label except for the last digit of some logits: with another number of
    cropping processes parts may be cut differently, and a network's sums depend on the number of faces in a batch."""

    crop_workers: int | None = None
    teacher_workers: int | None = None
    gpus_per_teacher: float = 0.0
    gpus_per_cropper: float = 0.0
    placing: Placing = field(default_factory=Placing)

    def __post_init__(self):
        most = self.placing.max_crop_workers
        if most is not None and most < (self.crop_workers or 1):
            raise UserError(f"max_crop_workers is {most}; give at least crop_workers ({self.crop_workers or 1})")
        if min(self.placing.crop_memory_gib, self.placing.teacher_memory_gib) < 0:
            raise UserError("crop_memory_gib and teacher_memory_gib must be 0 or more")

    @property
    def has_teacher_processes(self) -> bool:
        """Whether the teacher is a separate stage: if a number of processes or a property of their nodes is asked for, or if
        the detector is on a GPU, which many teachers would crowd. Otherwise it runs in the cropping processes."""
        asked = (self.placing.teacher_resource, self.placing.teacher_memory_gib, self.gpus_per_teacher)
        return self.teacher_workers is not None or any(asked) or self.gpus_per_cropper > 0

    def stages(self, croppers: int) -> list[Stage]:
        """The one or two actor pools; with `croppers` cropping workers if the plan gives no number."""
        cropping = Stage(
            name="face cropping",
            workers=self.crop_workers or min(croppers, self.placing.max_crop_workers or croppers),
            most_workers=self.placing.max_crop_workers,
            gpus=self.gpus_per_cropper,
            memory=round(self.placing.crop_memory_gib * GIB),
            resources={self.placing.crop_resource: 1.0} if self.placing.crop_resource else {},
        )
        if not self.has_teacher_processes:
            return [replace(cropping, name="face cropping and teacher")]
        teacher = Stage(
            name="teacher",
            workers=self.teacher_workers or 1,
            gpus=self.gpus_per_teacher,
            memory=round(self.placing.teacher_memory_gib * GIB),
            resources={self.placing.teacher_resource: 1.0} if self.placing.teacher_resource else {},
        )
        return [cropping, teacher]

    def local_croppers(self, cores: int, memory: float | None) -> int:
        """One per core, or as many as fit into the free `memory` in bytes: the kernel or Ray would kill more than that again
        and again. None: unknown."""
        croppers = cores if memory is None else max(1, min(cores, int(memory // CROPPER_BYTES)))
        if croppers < cores and self.crop_workers is None:
            log.warning(
                "%d cropping processes on %d cores: the %.1f GiB of free memory hold no more (--crop-workers N starts N)",
                croppers,
                cores,
                (memory or 0.0) / GIB,
            )
        return croppers

    def placed(self, at_most: bool = False) -> list[Stage]:
        """The stages, once the living nodes can hold them: here one cropping worker per core as far as memory allows, on a
        cluster as many as fit (beside the teacher's). Raises UserError if the plan would wait forever.

        at_most: accept fewer workers than asked for, after nodes have left.
        """
        from cluster.session import is_embedded, living_nodes, wait_for_room  # imports Ray, which a plan does without

        if is_embedded():
            stages = self.stages(self.local_croppers(local_cores(), living_nodes()[0].get("memory")))
        else:
            plan = replace(self, crop_workers=None, teacher_workers=self.teacher_workers and 1) if at_most else self
            wait_for_room(plan.stages(1))
            cropping, *others = plan.stages(1)
            room = room_for(cropping, others, living_nodes())
            stages = plan.stages(min(room, self.crop_workers or room))
        wait_for_room(stages)
        return stages
