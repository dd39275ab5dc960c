"""Students' answers on a distillation set, and how well they agree with the teacher's."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import torch

from cluster.actor_pools import actor_pool
from cluster.budget import Stage
from cluster.failures import UserError
from cluster.progress import progress
from cluster.session import session, wait_for_room, worker_cores
from cluster.worker_exit import arm_exit_alarm
from modeling.distillation.recipes import PAPER_TEMPERATURE
from modeling.emotions import EMOTIONS, MASKED_BELOW
from modeling.evaluation.auc import MIN_POSITIVES, EmotionAuc, emotion_auc, mean_auc
from modeling.evaluation.bootstrap import Estimate
from modeling.evaluation.divergence import (
    BalancedAccuracy,
    MeanDivergence,
    balanced_accuracy,
    confusion,
    mean_divergence,
    rank_correlations,
)
from modeling.sampling import SAMPLE_RATE_HZ
from modeling.students.build import Student
from modeling.students.prior import corrected
from pipeline.dataset.distillation_set import read_labels
from pipeline.dataset.resting_faces import resting_faces, without_resting_faces
from pipeline.dataset.utterances import USABLE, read_utterances
from pipeline.evaluation.scores import EIGHT, LABEL_COLUMNS, SCORE_SCHEMA, ScoredRows, matrix, rows_of_split
from pipeline.media.flac import decode_flac
from pipeline.students.load import student_meta

Figure = TypeVar("Figure")

ROWS_PER_BATCH = 16

READING_CPUS = 2.0
"""CPUs that the scoring workers leave free for Ray Data's tasks, which read the parts and filter their rows."""


class StudentScorer:
    """Ray Data callable: rows with `speech_flac` -> for each student, a row with its softmax over the whole clip."""

    def __init__(self, students: ray.ObjectRef):
        arm_exit_alarm()
        self.students: dict[str, Student] = ray.get(students)

    def __call__(self, rows: pa.Table) -> pa.Table:
        clips = [torch.from_numpy(decode_flac(flac)) for flac in rows["speech_flac"].to_pylist()]
        labels, parts = rows.select(LABEL_COLUMNS), []
        for name, student in self.students.items():
            probabilities = [student.predict(clip, SAMPLE_RATE_HZ).tolist() for clip in clips]
            part = labels.append_column("student", pa.array([name] * len(clips)))
            parts.append(part.append_column("probabilities", pa.array(probabilities, pa.list_(pa.float32()))))
        return pa.concat_tables(parts)


def score_students(
    students: dict[str, Student], labels_uri: str, address: str | None, *, speaker_baseline: bool = False
) -> dict[str, pa.Table]:
    """Every student's probabilities for every labelled utterance that has speech; a table of `SCORE_SCHEMA` each, all
    with the same utterances in the same order. speaker_baseline: the teacher's columns are without the speakers' resting faces.

    Raises UserError where a student gives NaN, naming the utterance.
    """
    utterances = len(scorable(labels_uri))
    with session(address), progress(utterances, "evaluate", "utterances") as bar:
        stage = Stage(name="student", workers=min(worker_cores(address), -(-utterances // ROWS_PER_BATCH)))
        wait_for_room([stage], task_cpus=READING_CPUS)
        scored = read_utterances(labels_uri, [*LABEL_COLUMNS, "speech_flac"]).map_batches(
            StudentScorer,
            fn_constructor_args=(ray.put(students),),
            **actor_pool(stage, batch_size=ROWS_PER_BATCH),
        )
        batches = []
        for batch in scored.iter_batches(batch_format="pyarrow", batch_size=None):
            batches.append(batch)
            bar.update(len(batch) // len(students))
    rows = pa.concat_tables(batches).sort_by("utterance_id")
    scores = {name: _scores(student, rows.filter(pc.field("student") == name)) for name, student in students.items()}
    if not speaker_baseline:
        return scores
    baseline = resting_faces(next(iter(scores.values())))  # the same labels stand beside each student's answers
    return {name: without_resting_faces(table, baseline) for name, table in scores.items()}


def scorable(labels_uri: str) -> pa.Table:
    """The columns split and teacher of the utterances that can be scored.

    Raises UserError if there are none, if several teachers labelled them, or if the set has another schema version.
    """
    table = read_labels(labels_uri, ["split", "teacher", "reject_reason", "speech_samples"]).filter(USABLE)
    if not len(table):
        raise UserError(f"{labels_uri}: no labelled utterance has speech; there is nothing to evaluate on")
    teachers = pc.unique(table["teacher"]).to_pylist()
    if len(teachers) > 1:
        raise UserError(
            f"{labels_uri}: labels of several teachers {teachers} are mixed; label again into an empty folder"
        )
    return table.select(["split", "teacher"])


def _scores(student: Student, rows: pa.Table) -> pa.Table:
    """One student's rows with `SCORE_SCHEMA`."""
    probabilities_NE = matrix(rows, "probabilities")
    broken = np.flatnonzero(~np.isfinite(probabilities_NE).all(axis=1))
    if len(broken):
        raise UserError(
            f"{rows['student'][0]}: NaN for utterance {rows['utterance_id'][int(broken[0])]} "
            f"({len(broken)} of {len(rows)} utterances); if it is all of them, the student is broken: train it again; "
            "otherwise label again without those utterances"
        )
    corrected_N = pa.nulls(len(rows), EIGHT)
    if (prior_E := student_meta(student).get("prior")) is not None:
        strength = student_meta(student).get("prior_strength", 1.0)
        corrected_N = pa.array(corrected(probabilities_NE, np.array(prior_E), strength).tolist(), EIGHT)
    return rows.append_column("corrected", corrected_N).select(SCORE_SCHEMA.names).cast(SCORE_SCHEMA)


@dataclass(frozen=True)
class RawAndCorrected(Generic[Figure]):
    """A figure of the student's raw answers, and of its answers without its training set's prior (None if it has none)."""

    raw: Figure
    corrected: Figure | None


@dataclass(frozen=True, kw_only=True)
class SplitScores:
    """One student on one split; the fields are those of evaluation.json.

    The paper's protocol: auc by emotion, and mean_auc over mean_auc_emotions with the ends of its interval. Agreement with
    the teacher: kl, at temperatures 1 and 2, spearman by emotion, confusion (rows: the teacher's dominant emotion, columns:
    the student's), balanced_accuracy. masked: emotions that the teacher does not know.
    """

    split: str
    utterances: int
    speakers: int
    resampled: str
    min_positives: int
    auc: dict[str, EmotionAuc]
    mean_auc: float | None
    mean_auc_low: float | None
    mean_auc_high: float | None
    mean_auc_emotions: tuple[str, ...]
    masked: tuple[str, ...]
    kl: MeanDivergence
    kl_temperature_2: MeanDivergence
    spearman: dict[str, Estimate]
    confusion: RawAndCorrected[np.ndarray]
    balanced_accuracy: RawAndCorrected[BalancedAccuracy]


def evaluate_scores(scores: pa.Table, split: str) -> SplitScores:
    """One student on a split, on "held-out" or on "all". Raises UserError if it has no utterance."""
    answers = ScoredRows.of(rows_of_split(scores, split))
    judged = (answers.probabilities_NE, answers.dominant_N, answers.speakers_N)
    compared = (answers.probabilities_NE, answers.logits_NE, answers.speakers_N)
    mean = mean_auc(*judged)
    known_E = np.any(answers.logits_NE > MASKED_BELOW, axis=0)
    chosen_N = answers.probabilities_NE.argmax(1)
    corrected_N = None if answers.corrected_NE is None else answers.corrected_NE.argmax(1)
    return SplitScores(
        split=split,
        utterances=len(answers.dominant_N),
        speakers=len(set(answers.speakers_N)),
        resampled=mean.resampled,
        min_positives=MIN_POSITIVES,
        auc=emotion_auc(*judged),
        mean_auc=mean.value,
        mean_auc_low=mean.low,
        mean_auc_high=mean.high,
        mean_auc_emotions=tuple(mean.emotions),
        masked=tuple(emotion for emotion, known in zip(EMOTIONS, known_E, strict=True) if not known),
        kl=mean_divergence(*compared),
        kl_temperature_2=mean_divergence(*compared, temperature=PAPER_TEMPERATURE),
        spearman=rank_correlations(*compared),
        confusion=RawAndCorrected(
            confusion(chosen_N, answers.dominant_N),
            None if corrected_N is None else confusion(corrected_N, answers.dominant_N),
        ),
        balanced_accuracy=RawAndCorrected(
            balanced_accuracy(chosen_N, answers.dominant_N, answers.speakers_N),
            None if corrected_N is None else balanced_accuracy(corrected_N, answers.dominant_N, answers.speakers_N),
        ),
    )
