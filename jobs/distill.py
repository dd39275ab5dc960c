"""Distillation set -> speech student."""

import dataclasses
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.run_record import RunRecord
from modeling.distillation.recipes import STUDENT_RECIPES, StudentRecipe
from modeling.distillation.targets import POOLINGS
from modeling.speech.ssl_front_end import FRONT_ENDS
from pipeline.distillation.run import DistillRun, distill_student
from pipeline.distillation.windows import KEPT_GIB
from pipeline.reports.student_card import student_card


@dataclass(frozen=True, kw_only=True)
class Distill(JobOptions):
    """Trains a speech student on a distillation set: random 4.024 s windows of speech, and as target the teacher's logits
    of the frames inside the window (their element-wise maximum in the paper's recipe, else their mean), compared at
    temperature 2.

    Writes the student of the last epoch (student.safetensors, which other jobs load), that of the epoch with the best
    mean AUC on the split val (student_best.safetensors), its card (README.md), and curves: `tensorboard --logdir OUT`.
    Started again with the same options it goes on from its last saved epoch, with any number of workers.
    """

    labels: str
    """Folder or s3:// prefix of the distillation set."""
    out: str
    """Folder or s3:// prefix of the student, new or from the same run."""
    recipe: Literal[tuple(STUDENT_RECIPES)] = "compact"  # pyright: ignore[reportInvalidTypeForm]
    """`paper`: VGG-M and the authors' schedule (for GPUs); `compact`: a small log-mel network that two cores can train;
    `ssl`: a head on a frozen self-supervised network (give --front-end); `smoke`: two epochs of a tiny network, to
    see that all is connected."""
    epochs: int | None = None
    """Epochs to train; left out: the recipe's."""
    front_end: str | None = None
    """File (.pth, path or s3://) of the frozen self-supervised network under an ssl student, as torchaudio publishes it."""
    bundle: Literal[tuple(FRONT_ENDS)] = "WAVLM_BASE_PLUS"  # pyright: ignore[reportInvalidTypeForm]
    """Which network of torchaudio.pipelines that file holds."""
    target_pooling: Literal[POOLINGS] | None = None  # pyright: ignore[reportInvalidTypeForm]
    """How the logits of the frames in a window become its target: element-wise maximum (the paper), mean, or mean weighted
    towards the frames with the clearest expression; left out: the recipe's."""
    temperature: float | None = None
    """Of teacher and student in the loss; left out: 2, as in the paper."""
    speaker_baseline: bool = False
    """Take each speaker's resting face off the labels: the mean of his logits, drawn towards that of all speakers the more the
    fewer utterances he has. A voice cannot hear it. Give it to `emovox evaluate` too."""
    seed: int = 0
    """Seed of weights, windows and order."""
    workers: int = 0
    """DDP workers of Ray Train, which share each batch; 0 trains in this process."""
    min_workers: int | None = None
    """Start with as few as these where the cluster has no room for --workers, and grow or shrink with it, each time from
    the last saved epoch; left out: --workers, no fewer."""
    gpu: bool = False
    """Train on a GPU (one for each worker)."""
    speech_memory_gib: float = KEPT_GIB
    """Decoded speech that each worker keeps in memory, in GiB: what is beyond is decoded anew in every pass, which costs
    some two milliseconds of a core for each window. All of VoxCeleb1 has 38 GiB, VoxCeleb2 262. It changes no result."""

    def __post_init__(self):
        if not 0 <= self.speech_memory_gib < math.inf:
            raise UserError(f"speech-memory-gib is {self.speech_memory_gib}; give a finite number of 0 or more")
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"epochs is {self.epochs}; give 1 or more")
        if self.workers < 0:
            raise UserError(f"workers is {self.workers}; give 0 (in this process) or more")
        if self.min_workers is not None and not 1 <= self.min_workers <= self.workers:
            raise UserError(f"min-workers is {self.min_workers}; give 1 to --workers ({self.workers}), or leave it out")


def distill(options: Distill, record: RunRecord) -> dict:
    run = DistillRun(
        labels_uri=storage.absolute(options.labels),
        student_uri=storage.absolute(options.out),
        recipe=_recipe(options),
        workers=options.workers,
        min_workers=options.min_workers,
        gpu=options.gpu,
        front_end_uri=options.front_end and storage.absolute(options.front_end),
        speech_memory_gib=options.speech_memory_gib,
        speaker_baseline=options.speaker_baseline,
    )
    storage.require_writable(run.student_uri)
    record.inputs |= run.identity()
    with record.stage("distill"):
        trained = json_ready(distill_student(run, options.address))
    history = trained.pop("history")
    record.counts |= trained | {"curve": history}
    record.write_into(run.student_uri)
    storage.write_bytes(storage.join(run.student_uri, "README.md"), student_card(record.as_dict()).encode())
    return trained | {"seconds": round(record.seconds(), 3)}


def _recipe(options: Distill) -> StudentRecipe:
    """The named recipe with the options that were given."""
    recipe = STUDENT_RECIPES[options.recipe]()
    changes = {name: getattr(options, name) for name in ("epochs", "target_pooling", "temperature")}
    changes = {name: value for name, value in changes.items() if value is not None} | {"seed": options.seed}
    if options.recipe == "ssl":
        changes["student"] = dataclasses.replace(recipe.student, bundle=options.bundle)
    try:
        return dataclasses.replace(recipe, **changes)
    except ValueError as error:
        raise UserError(f"--{error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("distill", Distill, distill, argv)


if __name__ == "__main__":
    sys.exit(main())
