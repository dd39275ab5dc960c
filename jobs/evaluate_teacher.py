"""Face teacher + FER+ -> accuracy, recall and calibration, as JSON and as an HTML report."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.devices import local_device
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.run_record import RunRecord, installed_versions
from modeling.evaluation.ferplus_accuracy import evaluate_ferplus
from modeling.faces.ferplus import FaceSet
from modeling.teachers.load import DEFAULT_TEACHER, load_teacher
from pipeline.assets.weights import teacher_weights
from pipeline.reports.rendering import ReportFacts
from pipeline.reports.teacher import mistakes, teacher_report
from pipeline.teachers.ferplus_files import read_faces
from pipeline.teachers.inference import face_logits


@dataclass(frozen=True, kw_only=True)
class EvaluateTeacher(JobOptions):
    """Evaluates a face teacher on faces labelled by people: accuracy under the paper's cleaning, under FER+'s majority rule
    and as argmax of eight; recall, confusion and calibration. Runs in this process, without Ray.
    """

    data: str
    """FER+: a parquet file (column `png` and the ten vote counts), a folder in one of its published forms, or
    fer2013.csv next to fer2013new.csv. Path or s3:// URI."""
    teacher: str = DEFAULT_TEACHER
    """Face-emotion network: a name or a file, as in `emovox label`. Path, s3:// or http URI."""
    teacher_sha256: str | None = None
    """Expected sha256 of the teacher's file."""
    trust_teacher: bool = False
    """Load a TorchScript teacher, which is a program, without its hash."""
    split: Literal["train", "valid", "test"] | None = None
    """Evaluate only this split. Default: all of the data."""
    gpu: bool = False
    """Run the teacher on a GPU."""
    out: str | None = None
    """Folder or s3:// prefix for teacher_evaluation.json, report.html and run.json. Default: only the line on stdout."""


def evaluate_teacher(options: EvaluateTeacher, record: RunRecord) -> dict:
    if options.out is not None:
        storage.require_writable(options.out)
    with record.stage("read"):
        weights = teacher_weights(options.teacher, options.teacher_sha256, trusted=options.trust_teacher)
        teacher = load_teacher(weights.name, weights.data, weights.description, device=local_device(options.gpu))
        faces = read_faces(options.data, options.split)
    record.inputs |= {"teacher": teacher.fingerprint, "faces": faces.fingerprint}
    with record.stage("look"):
        logits_NE = face_logits(teacher, faces.images_NHW)
    with record.stage("measure"):
        try:
            figures = evaluate_ferplus(logits_NE, faces.votes_NV, teacher.masked)
        except ValueError as error:
            raise UserError(f"--teacher {options.teacher}: {error}") from error
    result = {"teacher": teacher.fingerprint, **json_ready(figures)}
    record.counts |= {"faces": len(faces)}
    if options.out is not None:
        result |= {"report": _write(storage.absolute(options.out), result, faces, logits_NE, options, record)}
    return result | {"seconds": round(record.seconds(), 3)}


def _write(
    out_uri: str, result: dict, faces: FaceSet, logits_NE: np.ndarray, options: EvaluateTeacher, record: RunRecord
) -> str:
    """Writes the three files. Returns the URI of the report."""
    figures_uri, report_uri = (storage.join(out_uri, name) for name in ("teacher_evaluation.json", "report.html"))
    facts = ReportFacts(
        title="Evaluation of the face teacher",
        teacher=result["teacher"],
        files={"faces": options.data, "teacher": options.teacher, "figures": figures_uri},
        configuration={"split": options.split or "everything in the data"},
        versions=installed_versions(),
    )
    storage.write_json(figures_uri, result)
    storage.write_bytes(report_uri, teacher_report(result, mistakes(faces, logits_NE), facts).encode())
    record.write_into(out_uri)
    return report_uri


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("evaluate-teacher", EvaluateTeacher, evaluate_teacher, argv)


if __name__ == "__main__":
    sys.exit(main())
