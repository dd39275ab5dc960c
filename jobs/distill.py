"""Distillation set -> speech student."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.run_record import RunRecord
from modeling.recipes import RECIPES
from pipeline.distilling import DistillRun
from pipeline.distilling import distill as distill_student


@dataclass(frozen=True, kw_only=True)
class Distill(JobOptions):
    """Trains a speech student on a distillation set: random 4.024 s windows of speech, and as target the element-wise
    maximum of the teacher's logits of the frames inside the window, compared at temperature 2.

    Started again with the same options it goes on from its last saved epoch.
    """

    labels: str
    """Folder or s3:// prefix of the distillation set."""
    out: str
    """Folder or s3:// prefix of the student, new or from the same run."""
    recipe: Literal["paper", "compact", "smoke"] = "compact"
    """`paper`: VGG-M and the authors' schedule (for GPUs); `compact`: a small log-mel network that two cores can train;
    `smoke`: two epochs of a tiny one, to see that all is connected."""
    epochs: int | None = None
    """Epochs to train; left out: the recipe's."""
    seed: int = 0
    """Seed of weights, windows and order."""
    workers: int = 0
    """DDP workers of Ray Train; 0 trains in this process."""
    gpu: bool = False
    """Train on a GPU (one for each worker)."""

    def __post_init__(self):
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"epochs is {self.epochs}; give 1 or more")
        if self.workers < 0:
            raise UserError(f"workers is {self.workers}; give 0 (in this process) or more")


def distill(options: Distill, record: RunRecord) -> dict:
    changes = {"seed": options.seed} | ({"epochs": options.epochs} if options.epochs else {})
    run = DistillRun(
        labels_uri=storage.absolute(options.labels),
        student_uri=storage.absolute(options.out),
        recipe=dataclasses.replace(RECIPES[options.recipe](), **changes),
        workers=options.workers,
        gpu=options.gpu,
    )
    record.inputs |= run.identity()
    with record.stage("distill"):
        result = distill_student(run, options.address)
    curve = result.pop("curve")
    record.counts |= result | {"curve": curve}
    record.write_into(run.student_uri)
    return result | {"seconds": round(record.seconds(), 3)}


def main(argv: Sequence[str] | None = None) -> int:
    return run_job(Distill, distill, argv)


if __name__ == "__main__":
    sys.exit(main())
