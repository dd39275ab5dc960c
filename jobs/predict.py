"""Audio or video files -> emotion probabilities of whole files and of short windows, and embeddings if wanted."""

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tyro

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.run_record import RunRecord
from modeling.students.head import EmotionHead, load_head
from pipeline.rejects import count_unforeseen, suspicion
from pipeline.students.files import DEFAULT_STUDENT, student_fingerprint
from pipeline.students.prediction_tables import (
    MUCH_CLIPPED,
    Columns,
    as_rows,
    file_columns,
    require_table_name,
    timeline_columns,
    write_prediction_table,
)
from pipeline.students.timelines import HOP_S, WINDOW_S, TimelineOptions

log = logging.getLogger(__name__)

RAW_AND_CORRECTED = (
    "raw answers are 'neutral' most of the time, because the talking-face videos that the student learned from are mostly "
    "neutral; the columns NAME_corrected and emotion_corrected have that prior taken out: they ask what the voice adds to it"
)


@dataclass(frozen=True, kw_only=True)
class Predict(JobOptions):
    """Writes the student's emotion probabilities for each file, of any length, sample rate and number of channels.

    Each answer appears twice. The raw one (columns neutral, happiness, ...; emotion) is neutral most of the time, because
    the talking-face videos that the student learned from are mostly neutral. The corrected one (neutral_corrected, ...;
    emotion_corrected) removes that prior and shows what the voice adds to it; it is empty if the student's file holds no
    prior. Raw answers say how often an emotion occurs; corrected ones say when, or in which file, it is above the usual.

    A file longer than 10 s is scored in spans of 10 s, whose probabilities are averaged. --timeline adds a table with a row
    per short window; it needs the memory of one window, whatever the length. A file that cannot be read, or is silent (below
    -60 dB), becomes a row with its reason. Silent spans of 10 s are left out of the mean; silent windows have no numbers.
    """

    paths: tyro.conf.Positional[list[str]]
    """Audio or video files or folders of them; paths or s3:// URIs."""
    out: str | None = None
    """Table to write, .parquet or .csv, one row per file. Default: the answers are in the line on stdout."""
    student: str = DEFAULT_STUDENT
    """Student file, or the folder that `emovox distill` wrote; a path or s3:// URI. Default: the shipped one."""
    timeline: str | None = None
    """Second table to write, .parquet or .csv, one row per window: file, start_s, end_s and the same answers."""
    window_s: float = WINDOW_S
    """Length of the timeline's windows, 1 to 10 seconds."""
    hop_s: float = HOP_S
    """Seconds from one window to the next."""
    head: str | None = None
    """File written by `emovox fit-head`: adds the probabilities of your own classes (head_NAME, head_emotion)."""
    embeddings: bool = False
    """Add the student's embedding of each file."""

    def __post_init__(self):
        TimelineOptions(window_s=self.window_s, hop_s=self.hop_s)  # refuses impossible lengths
        if self.out and self.timeline and storage.absolute(self.timeline) == storage.absolute(self.out):
            raise UserError(f"--out and --timeline both name {self.out}; give two files")


def predict(options: Predict, record: RunRecord) -> dict:
    from pipeline.students.predict import decoder_for, media_files, predict_files

    for option, uri in (("--out", options.out), ("--timeline", options.timeline)):
        if uri is not None:
            require_table_name(uri, option)
    files = media_files(options.paths)
    windows = TimelineOptions(window_s=options.window_s, hop_s=options.hop_s) if options.timeline else None
    with decoder_for(files, options.address) as decoder:
        from pipeline.students.file_prediction import PredictionOptions  # with torch, while the decoder gets ready
        from pipeline.students.load import read_student, student_meta

        student, fingerprint = read_student(options.student), student_fingerprint(options.student)
        head = read_head(options.head, fingerprint) if options.head else None
        wanted = PredictionOptions(embeddings=options.embeddings, timeline=windows, head=head)
        with record.stage("predict"):
            rows = predict_files(student, files, wanted, options.address, decoder)
    answers = (student_meta(student), head.classes if head else ())
    table = file_columns(rows, *answers)
    reasons = Counter(reason for reason in table["reject_reason"] if reason)
    counts = {"files": len(files), "rejected": reasons.total(), "reasons": dict(reasons)}
    if unforeseen := count_unforeseen(table["reject_detail"]):
        counts["unforeseen"] = unforeseen
        log.warning("%s", suspicion(unforeseen, len(files)))
    result: dict[str, Any] = {}
    if options.out is None:
        result["answers"] = _answers(table)
    else:
        result["out"] = storage.absolute(options.out)
        write_prediction_table(result["out"], table)
    if options.timeline is not None:
        moments = timeline_columns(rows, *answers)
        result["timeline"] = storage.absolute(options.timeline)
        write_prediction_table(result["timeline"], moments)
        counts["windows"] = len(moments["file"])
    record.inputs |= {"student": fingerprint} | ({"head": options.head} if options.head else {})
    record.counts |= counts
    if options.out is not None:
        record.write_beside(result["out"])
    _tell(table, has_prior=answers[0].get("prior") is not None)
    return counts | result | {"seconds": round(record.seconds(), 3)}


def _answers(table: Columns) -> list[dict]:
    """The rows of the table, without what they do not have."""
    return [{name: value for name, value in row.items() if value is not None} for row in as_rows(table)]


def read_head(uri: str, student_sha256: str) -> EmotionHead:
    """Raises UserError if the file is not a head, or was fitted to another student."""
    uri = storage.absolute(uri)
    try:
        head = load_head(storage.read_bytes(uri))
    except ValueError as error:
        raise UserError(f"{uri}: {error}") from error
    if head.student_sha256 != student_sha256:
        raise UserError(
            f"{uri}: fitted to the student with sha256 {head.student_sha256[:12]}..., and --student is "
            f"{student_sha256[:12]}...; give that student, or fit the head again with `emovox fit-head`"
        )
    return head


def _tell(table: Columns, has_prior: bool) -> None:
    """Prints a line per file to stderr, and what raw and corrected mean."""
    for row in as_rows(table):
        said = row["reject_reason"] or _verdict(row, "", "emotion")
        if row["emotion_corrected"]:
            said += f"; corrected: {_verdict(row, '_corrected', 'emotion_corrected')}"
        if row.get("head_emotion"):
            said += f"; head: {row['head_emotion']} ({row['head_' + row['head_emotion']]:.2f})"
        if (row["clipped"] or 0) > MUCH_CLIPPED:
            said += f"; {row['clipped']:.0%} of its samples are clipped, so take this with care"
        print(f"{row['file']}: {said}", file=sys.stderr)
    if has_prior:
        log.info("%s", RAW_AND_CORRECTED)
    else:
        log.info("raw answers only: this student's file holds no prior to correct by; distil it again to have one")


def _verdict(row: dict, ending: str, best: str) -> str:
    return f"{row[best]} ({row[row[best].removesuffix(ending) + ending]:.2f})"


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("predict", Predict, predict, argv)


if __name__ == "__main__":
    sys.exit(main())
