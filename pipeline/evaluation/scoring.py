"""How well a student's answers agree with the teacher's, by split."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import pyarrow as pa

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
from pipeline.evaluation.scores import ScoredRows, rows_of_split

Figure = TypeVar("Figure")


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
