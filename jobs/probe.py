"""Student + labelled speech corpus -> how well its outputs tell the emotions apart, next to other features."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.devices import local_device
from cluster.failures import UserError
from cluster.run_record import RunRecord, installed_versions
from pipeline.corpora.read import corpus_name, read_corpus, require_emotions
from pipeline.probe.features import ProbeFeatures, probe_features
from pipeline.probe.protocols import (
    CEILING,
    CEILING_STEPS,
    add_ceiling,
    ceiling_recipe,
    confusion_of,
    labels_of,
    paper_protocol,
    predictions_table,
    result_of,
    speaker_independent_protocol,
)
from pipeline.reports.probe import probe_report
from pipeline.reports.rendering import ReportFacts
from pipeline.students.load import read_student


@dataclass(frozen=True, kw_only=True)
class Probe(JobOptions):
    """Asks how much emotion a frozen student's outputs hold: fits a linear classifier to them on a labelled corpus and scores
    it on unseen clips, by two protocols. "paper" takes the 8 logits, a regression without penalty and ten random folds of
    clips, so a speaker can be in training and test. "speaker_independent" takes logits and embedding, never has a speaker
    in both, and chooses the penalty inside the training folds. The same folds also score random numbers, eGeMAPS, mean
    log-mel, and, as a ceiling, the same student trained with the true labels. Runs in this process, without Ray.

    UAR is the mean recall of the emotions (chance: one over their number), WAR is the accuracy; intervals are 95 %.
    """

    student: str
    """Student file, or the folder that `emovox distill` wrote; a path or s3:// URI."""
    corpus: str
    """rml, enterface, ravdess, emodb or crema-d: how the corpus names its files; or csv: a table with the columns file
    (relative to the table), speaker and emotion."""
    data: str
    """Folder of the corpus, or the CSV file; a path or s3:// URI."""
    out: str | None = None
    """Folder or s3:// prefix for probe.json, predictions.parquet, report.html and run.json. Default: only the line on
    stdout."""
    ceiling: bool = True
    """Train the student's architecture with the true labels in each speaker-independent fold; by far the slowest part."""
    ceiling_steps: int = CEILING_STEPS
    """Optimiser steps of each training of the ceiling."""
    as_published: bool = False
    """Give the student the sound at the file's own rate as if it were 16 kHz, as the paper's released code does."""
    gpu: bool = False
    """Run the student and the ceiling on a GPU."""
    seed: int = 0
    """Seed of the folds, the random features, the intervals and the ceiling's weights."""


def probe(options: Probe, record: RunRecord) -> dict:
    if options.ceiling_steps < 1:
        raise UserError(f"--ceiling-steps {options.ceiling_steps}: give at least 1, or --no-ceiling")
    if options.out is not None:
        storage.require_writable(options.out)
    device = local_device(options.gpu)
    corpus = corpus_name(options.corpus)
    student = read_student(storage.absolute(options.student))
    clips = read_corpus(corpus, storage.absolute(options.data))
    with record.stage("features"):
        read = probe_features(
            student,
            clips,
            device=device,
            as_published=options.as_published,
            keep_speech=options.ceiling,
            seed=options.seed,
        )
    require_emotions(read.clips, options.data)
    classes, labels_N, speakers_N = labels_of(read.used)
    with record.stage("paper"):
        paper = paper_protocol(read.features, labels_N, speakers_N, options.seed)
    with record.stage("speaker_independent"):
        independent = speaker_independent_protocol(read.features, labels_N, speakers_N, options.seed)
    left_out = None
    if options.ceiling and independent.folds_N is not None:
        recipe = ceiling_recipe(student.config, options.seed)
        with record.stage("ceiling"):
            left_out = add_ceiling(independent, read, recipe, steps=options.ceiling_steps, device=device)
    result: dict[str, Any] = {"corpus": corpus, "as_published": options.as_published}
    result |= result_of(read, paper, independent)
    if left_out:
        result["left_out"][CEILING] = left_out
    result["confusion"] = confusion_of(independent, labels_N, len(classes))
    record.counts |= {name: result[name] for name in ("n", "speakers", "rejected", "reasons")}
    if options.out is not None:
        predictions = predictions_table(read, paper, independent)
        out_uri = storage.absolute(options.out)
        result["report"] = _write(out_uri, result, read, predictions, options=options, record=record)
    return result | {"seconds": round(record.seconds(), 3)}


def _write(
    out_uri: str, result: dict, read: ProbeFeatures, predictions: pa.Table, *, options: Probe, record: RunRecord
) -> str:
    """Writes the four files. Returns the URI of the report."""
    figures_uri, report_uri = (storage.join(out_uri, name) for name in ("probe.json", "report.html"))
    facts = ReportFacts(
        title=f"Probe of the student on {result['corpus']}",
        files={"student": options.student, "corpus": options.data, "figures": figures_uri},
        configuration={"seed": options.seed, "resampled to 16 kHz": not options.as_published},
        versions=installed_versions(),
    )
    storage.write_json(figures_uri, result)
    storage.write_table(storage.join(out_uri, "predictions.parquet"), predictions)
    storage.write_bytes(report_uri, probe_report(result, read.clips, facts).encode())
    record.write_into(out_uri)
    return report_uri


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("probe", Probe, probe, argv)


if __name__ == "__main__":
    sys.exit(main())
