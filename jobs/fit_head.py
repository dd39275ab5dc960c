"""Student + the user's own labelled clips -> a head for the user's own classes. The student does not change."""

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.run_record import RunRecord
from modeling.students.head import EmotionHead, fit_head
from pipeline.corpora.clip import CorpusClip
from pipeline.corpora.read import corpus_name, read_corpus, require_emotions, without_doubles
from pipeline.rejects import count_unforeseen, suspicion
from pipeline.students.files import DEFAULT_STUDENT, student_fingerprint

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FitHead(JobOptions):
    """Fits a linear classifier for your own labels on the embedding of a frozen student, and saves it for
    `emovox predict --head`. A few dozen clips can be enough to try it; the emotions may have any names.

    The classifier is an L2 logistic regression on the standardised embedding. It is first cross-validated over speakers:
    each speaker (with more than ten speakers, each fifth of them) is predicted by a fit to the others, whose penalty is
    chosen among those others. The resulting UAR (mean recall of the classes) and WAR (accuracy) say what to expect on new
    speakers. Then the classifier is fitted to all clips, with the penalty that was chosen most often.
    """

    data: str
    """CSV file with the columns file (relative to the CSV), speaker and emotion; or, with --corpus, a folder."""
    out: str
    """Head to write, a JSON file such as head.json. It works with this student only."""
    student: str = DEFAULT_STUDENT
    """Student file, or the folder that `emovox distill` wrote; a path or s3:// URI. Default: the shipped one."""
    corpus: str = "csv"
    """csv, or a corpus whose file names give speaker and emotion: rml, enterface, ravdess, emodb, crema-d."""
    seed: int = 0
    """Seed of the folds and the intervals."""


def fit_head_job(options: FitHead, record: RunRecord) -> dict:
    from pipeline.students.file_prediction import PredictionOptions
    from pipeline.students.load import read_student
    from pipeline.students.predict import predict_files

    storage.require_file_name(options.out)
    if not options.out.lower().endswith(".json"):
        raise UserError(f"--out {options.out}: a head is a JSON file; end its name in .json")
    data_uri = storage.absolute(options.data)
    student, fingerprint = read_student(options.student), student_fingerprint(options.student)
    clips = read_corpus(corpus_name(options.corpus), data_uri)
    with record.stage("embed"):
        files = [clip.uri for clip in clips if clip.reject_reason is None]
        rows = predict_files(student, files, PredictionOptions(embeddings=True), options.address)
    clips, embeddings_ND = _embedded(clips, rows)
    for clip in clips:
        if clip.reject_reason:
            log.warning("left out: %s: %s, %s", clip.file, clip.reject_reason, clip.reject_detail)
    if said := suspicion(count_unforeseen(clip.reject_detail for clip in clips), len(clips)):
        log.warning("%s", said)
    require_emotions(clips, data_uri)
    used = [clip for clip in clips if clip.reject_reason is None]
    reasons = Counter(clip.reject_reason for clip in clips if clip.reject_reason)
    facts = _facts(used) | {"rejected": reasons.total(), "reasons": dict(reasons)}
    with record.stage("examine"):
        examined, inverse_penalty = _examined(embeddings_ND, used, options.seed)
    facts |= examined | {"inverse_penalty": inverse_penalty}
    with record.stage("fit"):
        labels_N = np.array([clip.emotion for clip in used])
        meta = facts | {"data": options.data, "student": options.student}
        head: EmotionHead = fit_head(
            embeddings_ND, labels_N, inverse_penalty=inverse_penalty, student_sha256=fingerprint, meta=meta
        )
    out_uri = storage.absolute(options.out)
    storage.write_bytes(out_uri, head.to_json())
    record.inputs |= {"student": fingerprint}
    record.counts |= facts
    record.write_beside(out_uri)
    return {"out": out_uri} | facts | {"seconds": round(record.seconds(), 3)}


def _embedded(clips: list[CorpusClip], rows: list[dict[str, Any]]) -> tuple[list[CorpusClip], np.ndarray]:
    """The clips, with unreadable and duplicate ones marked, and the embeddings (N, D) of the usable ones."""
    answers = {row["file"]: row for row in rows}
    clips = [
        clip
        if clip.reject_reason
        else replace(clip, **{key: answers[clip.uri].get(key) for key in ("reject_reason", "reject_detail")})
        for clip in clips
    ]
    clips = without_doubles(
        clips, lambda clip: answers[clip.uri].get("sound_sha256"), "sample for sample the same sound"
    )
    return clips, np.array([answers[clip.uri]["embedding"] for clip in clips if not clip.reject_reason], np.float64)


def _facts(used: list[CorpusClip]) -> dict:
    return {
        "n": len(used),
        "speakers": len({clip.speaker for clip in used}),
        "classes": dict(sorted(Counter(clip.emotion for clip in used).items())),
    }


def _examined(embeddings_ND: np.ndarray, used: list[CorpusClip], seed: int) -> tuple[dict, float]:
    """UAR and WAR with intervals on speakers that the fit has not heard, or why there are none; and the C to fit all clips
    with."""
    from modeling.evaluation.linear_probe import (
        INVERSE_PENALTY_WITHOUT_CHOICE,
        recalls,
        regularised_predictions,
        speaker_folds,
    )

    labels_N, speakers_N = (np.array([getattr(clip, name) for clip in used]) for name in ("emotion", "speaker"))
    if len(np.unique(speakers_N)) < 2:
        log.warning("all clips are of one speaker: how it does on others cannot be said")
        why = "all clips are of one speaker, so none can be held out"
        return {"uar": None, "war": None, "not_examined": why}, INVERSE_PENALTY_WITHOUT_CHOICE
    names, classes_N = np.unique(labels_N, return_inverse=True)
    folds_N = speaker_folds(speakers_N, seed)
    predicted_N, penalties = regularised_predictions(embeddings_ND, classes_N, speakers_N, folds_N, seed)
    found = json_ready(recalls(predicted_N, classes_N, speakers_N, seed=seed)) | {"chance": 1 / len(names)}
    chosen = Counter(penalties)
    return found, min(chosen, key=lambda penalty: (-chosen[penalty], penalty))


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("fit-head", FitHead, fit_head_job, argv)


if __name__ == "__main__":
    sys.exit(main())
