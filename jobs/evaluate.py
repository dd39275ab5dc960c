"""Students + distillation set -> how well each student agrees with the teacher, as JSON and as an HTML report."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.run_record import RunRecord, installed_versions
from pipeline.evaluation.scores import rows_of_split
from pipeline.reports.facts import ReportFacts
from pipeline.reports.student_card import student_card
from pipeline.students.files import DEFAULT_STUDENT, student_uri


@dataclass(frozen=True, kw_only=True)
class Evaluate(JobOptions):
    """Scores a student by the paper's protocol. For each emotion, a one-vs-rest ROC-AUC says how well the student's softmax
    over the whole utterance ranks the utterances in which the teacher finds that emotion dominant. It comes with the number
    of positives and a bootstrap interval that resamples speakers. The report adds KL divergence from the teacher, rank
    correlation per emotion, and confusion.

    Several students (`--student runs/a runs/b`) are scored on the same utterances and compared in one table, with paired
    differences to the first.
    """

    labels: str
    """Folder or s3:// prefix of the distillation set."""
    out: str
    """Folder or s3:// prefix for evaluation.json, scores.parquet and report.html."""
    student: tuple[str, ...] = (DEFAULT_STUDENT,)
    """Student file, or the folder that `emovox distill` wrote; path or s3:// URI. Further students are compared with the
    first. Default: the shipped one."""
    split: Literal["held-out", "train", "val", "heard", "unheard", "all"] = "held-out"
    """Utterances to score; held-out is heard and unheard together. The report also shows every split by itself."""

    speaker_baseline: bool = False
    """Compare with the teacher's labels without each speaker's resting face, as `emovox distill --speaker-baseline` learns them;
    the mean is over all utterances of the set that have speech."""

    def __post_init__(self):
        if isinstance(self.student, str):  # one student, in a call from Python
            object.__setattr__(self, "student", (self.student,))
        if not self.student:
            raise UserError("--student names no student; give the folder that `emovox distill` wrote")


def evaluate(options: Evaluate, record: RunRecord) -> dict:
    from pipeline.evaluation.answers import scorable, score_students
    from pipeline.evaluation.comparison import differences, origin, student_names
    from pipeline.reports.evaluation import evaluation_report
    from pipeline.students.load import read_student

    labels_uri, out_uri = storage.absolute(options.labels), storage.absolute(options.out)
    storage.require_writable(out_uri)
    students = {
        name: read_student(path) for name, path in zip(student_names(options.student), options.student, strict=True)
    }
    rows = scorable(labels_uri)
    rows_of_split(rows, options.split)
    origins = {
        name: origin(name, student, labels_uri, rows["teacher"][0].as_py()) for name, student in students.items()
    }
    with record.stage("score"):
        scores = score_students(students, labels_uri, options.address, speaker_baseline=options.speaker_baseline)
    with record.stage("measure"):
        results = {name: _measure(table, options.split) | json_ready(origins[name]) for name, table in scores.items()}
        compared = json_ready(differences(scores, options.split))
    first = next(iter(results.values()))
    shared = {key: first[key] for key in ("split", "utterances", "speakers")}
    result = shared | {"students": results, "differences": compared} if len(results) > 1 else first
    result = result | {"speaker_baseline": options.speaker_baseline}
    report_uri = storage.join(out_uri, "report.html")
    storage.write_table(storage.join(out_uri, "scores.parquet"), pa.concat_tables(scores.values()))
    storage.write_json(storage.join(out_uri, "evaluation.json"), result)
    page = evaluation_report(results, compared, scores, _facts(options, first["teacher"], out_uri))
    storage.write_bytes(report_uri, page.encode())
    run_uri = storage.join(student_uri(options.student[0]), "run.json")
    if len(results) == 1 and storage.exists(run_uri):
        card = student_card(storage.read_json(run_uri), result)
        storage.write_bytes(storage.join(out_uri, "student_card.md"), card.encode())
    record.inputs |= {"teacher": first["teacher"]}
    record.counts |= {"students": len(results), "utterances": first["utterances"], "speakers": first["speakers"]}
    record.write_into(out_uri)
    return result | {"report": report_uri, "seconds": round(record.seconds(), 3)}


def _measure(scores: pa.Table, split: str) -> dict:
    """The content of evaluation.json: the requested split, and every split by itself."""
    from pipeline.evaluation.scoring import evaluate_scores

    splits = {name: evaluate_scores(scores, name) for name in sorted(set(scores["split"].to_pylist()))}
    return json_ready(evaluate_scores(scores, split)) | {"splits": json_ready(splits)}


def _facts(options: Evaluate, teacher: str, out_uri: str) -> ReportFacts:
    students = {f"student {n}": path for n, path in enumerate(options.student, 1)}
    return ReportFacts(
        title="Evaluation of the speech student" + ("s" if len(students) > 1 else ""),
        teacher=teacher,
        files={
            **(students if len(students) > 1 else {"student": options.student[0]}),
            "labels": options.labels,
            "figures": storage.join(out_uri, "evaluation.json"),
            "answers": storage.join(out_uri, "scores.parquet"),
        },
        configuration={"the teacher's labels": "without resting faces" if options.speaker_baseline else "as they are"},
        versions=installed_versions(),
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("evaluate", Evaluate, evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
