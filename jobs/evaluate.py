"""Student + distillation set -> ROC-AUC for each emotion, as JSON and as an HTML report."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.run_record import RunRecord, installed_versions
from pipeline.report import evaluation_report
from pipeline.scoring import evaluate_scores, read_student, score


@dataclass(frozen=True, kw_only=True)
class Evaluate(JobOptions):
    """Scores a student by the paper's protocol: how well its softmax on the whole utterance ranks the utterances whose
    dominant emotion, by the teacher, is a given one. One-vs-rest ROC-AUC with positives and a bootstrap interval.
    """

    student: str
    """Student file, or the folder that `emovox distill` wrote; a path or s3:// URI."""
    labels: str
    """Folder or s3:// prefix of the distillation set."""
    out: str
    """Folder or s3:// prefix for evaluation.json, scores.parquet and report.html."""
    split: Literal["held-out", "train", "val", "heard", "unheard", "all"] = "held-out"
    """Utterances to score; held-out is heard and unheard together. The report shows every split on its own too."""


def evaluate(options: Evaluate, record: RunRecord) -> dict:
    labels_uri, out_uri = storage.absolute(options.labels), storage.absolute(options.out)
    student = read_student(storage.absolute(options.student))
    with record.stage("score"):
        scores = score(student, labels_uri, options.address)
    with record.stage("measure"):
        result = evaluate_scores(scores, options.split)
        present = sorted(set(scores["split"].to_pylist()))
        result["splits"] = {split: evaluate_scores(scores, split) for split in present}
    facts = {
        "title": "Evaluation of the speech student",
        "files": {
            "student": options.student,
            "labels": options.labels,
            "figures": storage.join(out_uri, "evaluation.json"),
        },
        "versions": installed_versions(),
    }
    shown = {options.split: result, **result["splits"]}
    storage.write_table(storage.join(out_uri, "scores.parquet"), scores)
    storage.write_json(storage.join(out_uri, "evaluation.json"), result)
    storage.write_bytes(storage.join(out_uri, "report.html"), evaluation_report(shown, facts).encode())
    record.counts |= {"utterances": result["utterances"], "speakers": result["speakers"]}
    record.write_into(out_uri)
    return result | {"report": storage.join(out_uri, "report.html"), "seconds": round(record.seconds(), 3)}


def main(argv: Sequence[str] | None = None) -> int:
    return run_job(Evaluate, evaluate, argv)


if __name__ == "__main__":
    sys.exit(main())
