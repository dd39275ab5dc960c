"""Audio or video files -> emotion probabilities, and embeddings if wanted."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import tyro

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.run_record import RunRecord
from modeling.emotions import EMOTIONS
from pipeline.predicting import media_files
from pipeline.predicting import predict as predict_files
from pipeline.scoring import read_student


@dataclass(frozen=True, kw_only=True)
class Predict(JobOptions):
    """Writes the student's emotion probabilities for each file, of any length, sample rate and number of channels.

    A file longer than 10 s is scored in spans of 10 s and their probabilities are averaged. A file that cannot be read
    is a row with its reason.
    """

    paths: tyro.conf.Positional[list[str]]
    """Audio or video files, or folders of them; paths or s3:// URIs."""
    student: str
    """Student file, or the folder that `emovox distill` wrote; a path or s3:// URI."""
    out: str
    """Table to write (parquet), one row a file."""
    embeddings: bool = False
    """Add the student's embedding of the file."""


def predict(options: Predict, record: RunRecord) -> dict:
    storage.require_file_name(options.out)
    files = media_files(options.paths)
    student = read_student(storage.absolute(options.student))
    with record.stage("predict"):
        table = predict_files(student, files, options.embeddings, options.address)
    storage.write_table(storage.absolute(options.out), table)
    reasons = Counter(reason for reason in table["reject_reason"].to_pylist() if reason)
    counts = {"files": len(table), "rejected": sum(reasons.values()), "reasons": dict(reasons)}
    record.counts |= counts
    record.write_beside(storage.absolute(options.out))
    for row in table.select(["file", "reject_reason", "emotion", *EMOTIONS]).to_pylist():
        verdict = row["reject_reason"] or f"{row['emotion']} ({row[row['emotion']]:.2f})"
        print(f"{row['file']}: {verdict}", file=sys.stderr)
    return counts | {"out": storage.absolute(options.out), "seconds": round(record.seconds(), 3)}


def main(argv: Sequence[str] | None = None) -> int:
    return run_job(Predict, predict, argv)


if __name__ == "__main__":
    sys.exit(main())
