"""Student + labelled speech corpus -> how well its outputs tell the emotions apart, next to other features."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.devices import local_device
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.run_record import RunRecord, installed_versions
from pipeline.corpora.read import corpus_name, read_corpus, require_emotions
from pipeline.rejects import count_unforeseen, suspicion
from pipeline.reports.facts import ReportFacts
from pipeline.reports.student_card import student_card
from pipeline.students.files import DEFAULT_STUDENT, student_fingerprint, student_uri

if TYPE_CHECKING:
    from pipeline.probe.features import ProbeFeatures
    from pipeline.probe.zero_shot import ExamClips

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Probe(JobOptions):
    """Asks how much emotion a frozen student's outputs hold: fits a linear classifier to them on a labelled corpus and scores
    it on unseen clips, by two protocols. "paper" takes the 8 logits, a regression without penalty and ten random folds of
    clips, so a speaker can be in training and test. "speaker_independent" takes logits and embedding, never has a speaker
    in both, and chooses the penalty inside the training folds. The same folds also score random numbers, eGeMAPS, mean
    log-mel, and, as a ceiling, the same student trained with the true labels. A corpus of up to 200
    clips of 64 MiB together is read in this process, a larger one on Ray; the rest is done in this process.

    UAR is the mean recall of the emotions (chance: one over their number), WAR is the accuracy; intervals are 95 %.
    """

    corpus: str
    """rml, enterface, ravdess, emodb or crema-d: how the corpus names its files; or csv: a table with the columns file
    (relative to the table), speaker and emotion."""
    data: str
    """Folder of the corpus, or the CSV file; a path or s3:// URI."""
    protocol: Literal["linear", "zero-shot"] = "linear"
    """`linear`: a classifier is fitted to the outputs, as described above. `zero-shot`: nothing is fitted; the student's own
    eight outputs are compared with the true emotions, as one-vs-rest AUC: raw, with the prior taken out, and with each
    speaker's mean taken off."""
    peer_corpus: str | None = None
    """For `zero-shot`: another corpus, named as --corpus is, on whose true labels classifiers of eGeMAPS and of the student's
    embedding are trained, to be compared on the same clips."""
    peer_data: str | None = None
    """Folder or CSV file of --peer-corpus."""
    out: str | None = None
    """Folder or s3:// prefix for probe.json (zero_shot.json), predictions.parquet, report.html and run.json. Default: only
    the line on stdout."""
    student: str = DEFAULT_STUDENT
    """Student file, or the folder that `emovox distill` wrote; a path or s3:// URI. Default: the shipped one."""
    ceiling: bool = True
    """Train the student's architecture with the true labels in each speaker-independent fold; by far the slowest part."""
    ceiling_steps: int = 400
    """Optimiser steps of each training of the ceiling."""
    as_published: bool = False
    """Give the student the sound at the file's own rate as if it were 16 kHz, as the paper's released code does."""
    gpu: bool = False
    """Run the student and the ceiling on a GPU."""
    seed: int = 0
    """Seed of the folds, the random features, the intervals and the ceiling's weights."""


def probe(options: Probe, record: RunRecord) -> dict:
    return (_zero_shot if options.protocol == "zero-shot" else _linear)(options, record)


def _zero_shot(options: Probe, record: RunRecord) -> dict:
    from pipeline.probe.features import probe_features
    from pipeline.probe.zero_shot import Peer, examine, require_new_speakers
    from pipeline.students.load import read_student, student_meta

    if (options.peer_corpus is None) != (options.peer_data is None):
        raise UserError("--peer-corpus and --peer-data belong together; give both or neither")
    if options.out is not None:
        storage.require_writable(options.out)
    device = local_device(options.gpu)
    student = read_student(options.student)
    meta = student_meta(student)
    corpus, clips = _read_corpus(options.corpus, options.data)
    knows = require_new_speakers(meta, clips.clips, options.data)
    peer = None
    if options.peer_corpus is not None and options.peer_data is not None:
        name, others = _read_corpus(options.peer_corpus, options.peer_data)
        with record.stage("peer"):
            read = probe_features(student, others.clips, device=device, seed=options.seed, address=options.address)
        require_emotions(read.clips, options.peer_data)
        peer = Peer(name, read)
    with record.stage("exam"):
        exam, answers = examine(
            student,
            meta,
            clips,
            peer=peer,
            device=device,
            knows_its_speakers=knows,
            seed=options.seed,
            address=options.address,
        )
    result: dict[str, Any] = {"corpus": corpus} | json_ready(exam)
    record.inputs |= {"student": student_fingerprint(options.student)}
    record.counts |= {name: result[name] for name in ("n", "speakers", "rejected", "reasons", "positives")}
    if options.out is not None:
        result["report"] = _write_exam(storage.absolute(options.out), result, answers, options, record)
    return result | {"seconds": round(record.seconds(), 3)}


def _read_corpus(corpus: str, data: str) -> tuple[str, "ExamClips"]:
    """The corpus's name, and its clips."""
    from pipeline.probe.zero_shot import exam_clips

    name = corpus_name(corpus)
    return name, exam_clips(read_corpus(name, storage.absolute(data)), data)


def _write_exam(out_uri: str, result: dict, answers: pa.Table, options: Probe, record: RunRecord) -> str:
    """Writes the files of an exam, and the student's card where its run is known. Returns the URI of the report."""
    from pipeline.reports.zero_shot import zero_shot_report

    figures_uri, report_uri = (storage.join(out_uri, name) for name in ("zero_shot.json", "report.html"))
    facts = ReportFacts(
        title=f"Zero-shot exam of the student on {result['corpus']}",
        files={"student": options.student, "corpus": options.data, "figures": figures_uri},
        configuration={"seed": options.seed},
        versions=installed_versions(),
    )
    storage.write_json(figures_uri, result)
    storage.write_table(storage.join(out_uri, "predictions.parquet"), answers)
    storage.write_bytes(report_uri, zero_shot_report(result, facts).encode())
    run_uri = storage.join(student_uri(options.student), "run.json")
    if storage.exists(run_uri):
        card = student_card(storage.read_json(run_uri), exams=[result])
        storage.write_bytes(storage.join(out_uri, "student_card.md"), card.encode())
    record.write_into(out_uri)
    return report_uri


def _linear(options: Probe, record: RunRecord) -> dict:
    from pipeline.probe.features import probe_features
    from pipeline.probe.protocols import (
        CEILING,
        add_ceiling,
        ceiling_recipe,
        confusion_of,
        labels_of,
        paper_protocol,
        predictions_table,
        result_of,
        speaker_independent_protocol,
    )
    from pipeline.students.load import read_student

    if options.ceiling_steps < 1:
        raise UserError(f"--ceiling-steps {options.ceiling_steps}: give at least 1, or --no-ceiling")
    if options.out is not None:
        storage.require_writable(options.out)
    device = local_device(options.gpu)
    corpus = corpus_name(options.corpus)
    student = read_student(options.student)
    clips = read_corpus(corpus, storage.absolute(options.data))
    with record.stage("features"):
        read = probe_features(
            student,
            clips,
            device=device,
            as_published=options.as_published,
            keep_speech=options.ceiling,
            seed=options.seed,
            address=options.address,
        )
    if said := suspicion(count_unforeseen(clip.reject_detail for clip in read.clips), len(read.clips)):
        log.warning("%s", said)
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
    out_uri: str, result: dict, read: "ProbeFeatures", predictions: pa.Table, *, options: Probe, record: RunRecord
) -> str:
    """Writes the four files. Returns the URI of the report."""
    from pipeline.reports.probe import probe_report

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
