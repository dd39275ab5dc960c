"""FER+ -> the compact face teacher."""

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.identity import claim
from cluster.progress import progress
from cluster.run_record import RunRecord
from modeling.ferplus import FaceSet, read_parquet
from modeling.teacher import save_compact_teacher
from modeling.teacher_training import TeacherRecipe, TeacherTrainer


@dataclass(frozen=True, kw_only=True)
class TrainTeacher(JobOptions):
    """Trains the compact face teacher on FER+ vote distributions, in this process; goes on from its last epoch.

    The sets are parquet with a column `png` (48x48 grey) and a column of votes for each of the eight emotions, `unknown`
    and `not_face`; rows are kept by the paper's cleaning.
    """

    train: str
    """FER+ training faces (parquet path)."""
    valid: str
    """FER+ validation faces (parquet path)."""
    out: str
    """Folder for the weights and the training state."""
    recipe: TeacherRecipe = field(default_factory=TeacherRecipe)
    threads: int = os.cpu_count() or 1
    """CPU threads."""


def train_teacher(options: TrainTeacher, record: RunRecord) -> dict:
    out = storage.absolute(options.out)
    train, valid = (_read_faces(path) for path in (options.train, options.valid))
    claim(out, {"recipe": asdict(options.recipe), "train_faces": len(train), "valid_faces": len(valid)})
    torch.set_num_threads(options.threads)
    trainer = TeacherTrainer(options.recipe, train, valid)
    state_uri = storage.join(out, "training_state.pt")
    curve = []
    if storage.exists(state_uri):
        state = torch.load(io.BytesIO(storage.read_bytes(state_uri)), weights_only=True)
        trainer.load_state(state["trainer"])
        curve = state["curve"]
    with record.stage("train"), progress(options.recipe.epochs, "train teacher", "epochs") as bar:
        bar.update(trainer.epoch)
        while trainer.epoch < options.recipe.epochs:
            curve.append(trainer.run_epoch())
            state = io.BytesIO()
            torch.save({"trainer": trainer.state(), "curve": curve}, state)
            storage.write_bytes(state_uri, state.getvalue())
            bar.set_postfix_str(f"valid accuracy {curve[-1]['valid_accuracy']:.4f}")
            bar.update(1)
    weights_uri = storage.join(out, "compact_teacher.safetensors")
    meta = {
        "recipe": asdict(options.recipe),
        "valid_accuracy": curve[-1]["valid_accuracy"],
        "faces": len(trainer.faces_NHW),
    }
    storage.write_bytes(weights_uri, save_compact_teacher(trainer.average, meta))
    record.counts |= {"curve": curve}
    record.write_into(out)
    return {
        "weights": weights_uri,
        "valid_accuracy": curve[-1]["valid_accuracy"],
        "seconds": round(record.seconds(), 3),
    }


def _read_faces(path: str) -> FaceSet:
    try:
        return read_parquet(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: not found; give a FER+ parquet file") from error
    except ValueError as error:
        raise UserError(str(error)) from error


def main(argv: Sequence[str] | None = None) -> int:
    return run_job(TrainTeacher, train_teacher, argv)


if __name__ == "__main__":
    sys.exit(main())
