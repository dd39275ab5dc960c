"""Face teacher + FER+, or labelled clips -> accuracy, recall and calibration, as JSON and for FER+ as an HTML report."""

import contextlib
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.devices import local_device
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.run_record import RunRecord, installed_versions
from modeling.faces.ferplus import FaceSet
from modeling.teachers.catalogue import DEFAULT_TEACHER
from pipeline.assets.packages import DEFAULT_DETECTOR
from pipeline.reports.facts import ReportFacts

if TYPE_CHECKING:
    from modeling.teachers.base import Teacher


@dataclass(frozen=True, kw_only=True)
class EvaluateTeacher(JobOptions):
    """Evaluates a face teacher on faces that people have judged: accuracy by the paper's cleaning, by FER+'s majority rule
    and as argmax of eight, recall and confusion of the emotions, calibration. Or, with --clips, on talking faces: accuracy of
    frames and clips, AUC of each emotion, with and without each speaker's resting face, by crop scale. Runs in this
    process, without Ray.
    """

    data: str | None = None
    """FER+: a parquet file (column `png` and the ten vote counts), a folder in one of its published forms, or
    fer2013.csv next to fer2013new.csv. Path or s3:// URI."""
    clips: str | None = None
    """Labelled clips, instead of --data: a CSV file with the columns file (video, relative to the CSV), speaker and emotion
    (one of the eight). They are decoded, and their faces found, followed and cropped as `emovox label` does it."""
    detector: str = DEFAULT_DETECTOR
    """Face detector for --clips, by name or file, as in `emovox label`."""
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
    """Folder or s3:// prefix for teacher_evaluation.json, report.html and run.json, or for clip_evaluation.json and run.json;
    default: only the line on stdout."""

    def __post_init__(self):
        if (self.data is None) == (self.clips is None):
            raise UserError("give either --data (FER+) or --clips (a table of labelled videos)")


def evaluate_teacher(options: EvaluateTeacher, record: RunRecord) -> dict:
    from modeling.teachers.load import load_teacher
    from pipeline.assets.weights import teacher_weights

    if options.out is not None:
        storage.require_writable(options.out)
    with record.stage("read"):
        weights = teacher_weights(options.teacher, options.teacher_sha256, trusted=options.trust_teacher)
        teacher = load_teacher(weights.name, weights.data, weights.description, device=local_device(options.gpu))
    record.inputs |= {"teacher": teacher.fingerprint}
    if options.clips is not None:
        examined = _on_clips(teacher, storage.absolute(options.clips), options, record)
    else:
        examined = _on_ferplus(teacher, str(options.data), options, record)
    return examined | {"seconds": round(record.seconds(), 3)}


def _on_ferplus(teacher: "Teacher", data: str, options: EvaluateTeacher, record: RunRecord) -> dict:
    from modeling.evaluation.ferplus_accuracy import evaluate_ferplus
    from pipeline.teachers.ferplus_files import read_faces
    from pipeline.teachers.inference import face_logits

    with record.stage("read"):
        faces = read_faces(data, options.split)
    record.inputs |= {"faces": faces.fingerprint}
    with record.stage("look"):
        logits_NE = face_logits(teacher, faces.images_NHW)
    with record.stage("measure"), _named(options.teacher):
        figures = evaluate_ferplus(logits_NE, faces.votes_NV, teacher.masked)
    result = {"teacher": teacher.fingerprint, **json_ready(figures)}
    record.counts |= {"faces": len(faces)}
    if options.out is None:
        return result
    return result | {"report": _write(storage.absolute(options.out), result, faces, logits_NE, options, record)}


def _on_clips(teacher: "Teacher", clips_uri: str, options: EvaluateTeacher, record: RunRecord) -> dict:
    from modeling.faces.retinaface import load_detector
    from pipeline.assets.weights import detector_weights
    from pipeline.teachers.clip_evaluation import examine, labelled_clips

    with record.stage("read"):
        clips = labelled_clips(clips_uri)
        detector = detector_weights(options.detector)
        detect = load_detector(detector.name, detector.data, device=local_device(options.gpu))
    record.inputs |= {"detector": detect.fingerprint, "clips": storage.sha256(storage.read_bytes(clips_uri))}
    with record.stage("look"), _named(options.teacher):
        exam = examine(teacher, clips, detect)
    result = {"teacher": teacher.fingerprint, "detector": detect.fingerprint, **json_ready(exam)}
    record.counts |= {"clips": exam.figures.clips, "set_aside": sum(exam.set_aside.values())}
    if options.out is not None:
        out_uri = storage.absolute(options.out)
        storage.write_json(storage.join(out_uri, "clip_evaluation.json"), result)
        record.write_into(out_uri)
    return result


@contextlib.contextmanager
def _named(teacher: str) -> Generator[None]:
    """Says which teacher it was that gave answers which cannot be measured."""
    try:
        yield
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"--teacher {teacher}: {error}") from error


def _write(
    out_uri: str, result: dict, faces: FaceSet, logits_NE: np.ndarray, options: EvaluateTeacher, record: RunRecord
) -> str:
    """Writes the three files. Returns the URI of the report."""
    from pipeline.reports.teacher import mistakes, teacher_report

    figures_uri, report_uri = (storage.join(out_uri, name) for name in ("teacher_evaluation.json", "report.html"))
    facts = ReportFacts(
        title="Evaluation of the face teacher",
        teacher=result["teacher"],
        files={"faces": str(options.data), "teacher": options.teacher, "figures": figures_uri},
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
