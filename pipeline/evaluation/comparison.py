"""Compares several students on the same utterances: their names, and whether they differ."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import pyarrow as pa

from cluster import storage
from cluster.failures import UserError
from cluster.identity import FILE as IDENTITY_FILE
from modeling.evaluation.auc import mean_auc_difference
from modeling.evaluation.bootstrap import Estimate
from modeling.evaluation.divergence import divergence_difference
from modeling.students.build import Student
from pipeline.evaluation.scores import ScoredRows, rows_of_split
from pipeline.students.load import student_meta

log = logging.getLogger(__name__)


def student_names(paths: Sequence[str]) -> list[str]:
    """The last component of each path, with as many components before it as are needed to tell them apart.

    Raises UserError if a path is given twice.
    """
    uris = [storage.absolute(path).rstrip("/") for path in paths]
    if doubled := [uri for uri, n in Counter(uris).items() if n > 1]:
        raise UserError(f"--student names {doubled[0]} twice; name each student once")
    names, depth = [""] * len(uris), 0
    while len(set(names)) < len(names) or depth == 0:
        depth += 1
        clashing = {name for name, n in Counter(names).items() if n > 1}
        names = [
            "/".join(uri.split("/")[-depth:]) if name in clashing or depth == 1 else name
            for name, uri in zip(names, uris, strict=True)
        ]
    return names


@dataclass(frozen=True)
class Difference(Estimate):
    """finding: "better", "worse", or "no difference shown" if the interval contains 0; None if there is no interval."""

    finding: str | None

    @classmethod
    def of(cls, estimate: Estimate, *, is_better_above: bool) -> Self:
        value, low, high = estimate.value, estimate.low, estimate.high
        finding = None
        if value is not None and low is not None and high is not None:
            is_better = value > 0 if is_better_above else value < 0
            finding = "no difference shown" if low <= 0 <= high else "better" if is_better else "worse"
        return cls(value, low, high, finding)


@dataclass(frozen=True)
class Differences:
    """A student minus the first one. An AUC difference above 0 and a KL difference below 0 are in its favour."""

    mean_auc: Difference
    kl: Difference


def differences(scores: dict[str, pa.Table], split: str) -> dict[str, Differences]:
    """Name -> differences to the first student, for every other student.

    They are paired: the same utterances and, for the intervals, the same resamples of speakers.
    """
    first, *others = ((name, ScoredRows.of(rows_of_split(table, split))) for name, table in scores.items())
    reference = first[1]
    found = {}
    for name, answers in others:
        labels = (reference.dominant_N, reference.speakers_N)
        auc = mean_auc_difference(answers.probabilities_NE, reference.probabilities_NE, *labels)
        kl = divergence_difference(
            answers.probabilities_NE, reference.probabilities_NE, reference.logits_NE, reference.speakers_N
        )
        found[name] = Differences(Difference.of(auc, is_better_above=True), Difference.of(kl, is_better_above=False))
    return found


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Whether a student learned from the labels that it is scored on. teacher: of these labels; trained_by: of its own.

    A value is None if the student's file or the labels' folder does not tell.
    """

    teacher: str
    trained_by: str | None
    teacher_differs: bool | None
    set_differs: bool | None


def origin(name: str, student: Student, labels_uri: str, teacher: str) -> Origin:
    """teacher: of the labels. Logs a warning of one line if the student learned from other labels."""
    learned_from = student_meta(student).get("labels") or {}
    identity_uri = storage.join(labels_uri, IDENTITY_FILE)
    scored_on = storage.read_json(identity_uri) if storage.exists(identity_uri) else {}
    trained_by = learned_from.get("teacher")
    teacher_differs = None if trained_by is None else trained_by != teacher
    manifests = (learned_from.get("manifest"), scored_on.get("manifest"))
    set_differs = None if None in manifests else manifests[0] != manifests[1]
    if teacher_differs:
        log.warning("%s learned from teacher %s; these labels are by %s, another one", name, trained_by, teacher)
    if set_differs:
        log.warning("%s learned from another set: heard, unheard and train are not those of its training", name)
    return Origin(teacher=teacher, trained_by=trained_by, teacher_differs=teacher_differs, set_differs=set_differs)
