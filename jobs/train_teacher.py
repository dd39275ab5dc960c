"""FER+ -> face teacher."""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.cores import local_cores
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.run_record import RunRecord
from modeling.teacher_training.recipes import TEACHER_RECIPES, TeacherRecipe
from modeling.teachers.catalogue import PUBLISHED

RENAMED_RECIPES = {"again": "second_round"}


@dataclass(frozen=True, kw_only=True)
class TrainTeacher(JobOptions):
    """Trains a face teacher on the vote distributions of FER+, on the faces that the paper's cleaning keeps.

    The same command continues from the last saved epoch.
    """

    data: str
    """FER+: a folder with fer2013.csv and fer2013new.csv, with Microsoft's FER2013Train, FER2013Valid (pictures and
    label.csv), or with train.parquet and valid.parquet; or a parquet file of the training faces. Path or s3:// URI."""
    valid: str | None = None
    """Validation faces in one of these forms, if `data` holds only the training faces."""
    out: str
    """Folder or s3:// prefix for the teacher and the training state: new, or of the same run."""
    recipe: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(TEACHER_RECIPES) + "}")] = "compact"
    """`compact`: the network that comes with the project, for a CPU or a GPU; `second_round`: a shorter round from the
    trained weights of --init; `pretrained`: MobileNet v1, which has learnt to recognise faces before; `paper`: the authors'
    fine-tuning of a published network (give --init, and a GPU); `smoke`: two epochs of a tiny network, to see that all is
    connected."""
    network: Literal[tuple(PUBLISHED)] = "senet50_ferplus"  # pyright: ignore[reportInvalidTypeForm]
    """Network of the paper's recipe."""
    init: str | None = None
    """Weights to start from. For `paper`: VGGFace2 weights of that network (senet50_ft_dag.pth, resnet50_ft_dag.pth of the
    authors' model page). For `pretrained`: `mobilenet_vggface2`, which is also what it takes if nothing is given (fetched once
    with npm), the .json of a copy of its files, or a MobileNet teacher. For the others: a compact teacher, by name (`compact`)
    or file. Path, s3:// or http URI."""
    soft_labels_from: list[str] = field(default_factory=list)
    """Trained teachers (as for `emovox label --teacher`) whose mean probabilities make up half of each target; the votes are
    the other half. This distils a larger network into a smaller one, or a network into its successor."""
    trust_teacher: bool = False
    """Load TorchScript teachers, which are programs."""
    epochs: int | None = None
    """Epochs to train; the recipe's schedule is stretched over them. Default: the recipe's."""
    seed: int = 0
    """Seed of the weights, the augmentation and the order of faces."""
    workers: int = 0
    """DDP workers of Ray Train; 0 trains in this process."""
    gpu: bool = False
    """Train on a GPU (one per worker)."""
    compiled: bool = False
    """Train through torch.compile, which needs a C++ compiler and is 1.4 to 1.8 times as fast on two cores."""
    threads: int = field(default_factory=local_cores)
    """CPU threads for training in this process."""

    def __post_init__(self):
        for name, least in (("epochs", 1), ("workers", 0), ("threads", 1)):
            if getattr(self, name) is not None and getattr(self, name) < least:
                raise UserError(f"{name} is {getattr(self, name)}; give {least} or more")
        if self.recipe in RENAMED_RECIPES:
            raise UserError(
                f"the recipe `{self.recipe}` is now called `{RENAMED_RECIPES[self.recipe]}`; give that name"
            )
        if self.recipe not in TEACHER_RECIPES:
            raise UserError(f"recipe is {self.recipe!r}; choose one of {', '.join(TEACHER_RECIPES)}")
        if self.recipe == "second_round" and not self.init:
            raise UserError(
                "the recipe `second_round` goes on from trained weights; give --init, for example --init compact"
            )


def train_teacher(options: TrainTeacher, record: RunRecord) -> dict:
    import torch

    from pipeline.assets.weights import teacher_weights
    from pipeline.teachers.ferplus_files import read_faces, read_split
    from pipeline.teachers.run import TeacherRun, train_face_teacher

    storage.require_writable(options.out)
    with record.stage("read"):
        run = TeacherRun(
            train=(read_split if options.valid else read_faces)(options.data, "train"),
            valid=read_split(options.valid, "valid") if options.valid else read_faces(options.data, "valid"),
            teacher_uri=storage.absolute(options.out),
            recipe=_recipe(options),
            init=_init(options),
            soft_teachers=tuple(
                teacher_weights(name, trusted=options.trust_teacher) for name in options.soft_labels_from
            ),
            workers=options.workers,
            gpu=options.gpu,
            compiled=options.compiled,
        )
        record.inputs |= run.identity()
        record.counts |= run.counts()
    torch.set_num_threads(options.threads)
    with record.stage("train"):
        trained = json_ready(train_face_teacher(run, options.address))
    record.counts["curve"] = trained.pop("history")
    record.write_into(run.teacher_uri)
    kept = {f"{split}_faces": record.counts[split]["kept"] for split in ("train", "valid")}
    return trained | kept | {"seconds": round(record.seconds(), 3)}


def _init(options: TrainTeacher) -> bytes | None:
    from pipeline.assets.face_recogniser import VGGFACE2, mobilenet_start
    from pipeline.assets.weights import read_weights, teacher_weights

    if options.recipe == "pretrained":
        return mobilenet_start(options.init or VGGFACE2)
    if options.init is None:
        return None
    return (
        read_weights(options.init)
        if options.recipe == "paper"
        else teacher_weights(options.init, trusted=options.trust_teacher).data
    )


def _recipe(options: TrainTeacher) -> TeacherRecipe:
    recipe = TEACHER_RECIPES[options.recipe]()
    if options.epochs:
        recipe = recipe.lasting(options.epochs)
    changes = {"seed": options.seed}
    if options.recipe == "paper":
        changes["network"] = options.network
    return dataclasses.replace(recipe, **changes)


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("train-teacher", TrainTeacher, train_teacher, argv)


if __name__ == "__main__":
    sys.exit(main())
