"""The evaluation of the paper (student_stats.m): one-vs-rest ROC-AUC of each emotion, with a bootstrap interval.

Shape letters: N utterances, E = 8 emotions, R bootstrap resamples, G groups (speakers), K sums,
P positives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from sklearn.metrics import roc_auc_score

from modeling.emotions import EMOTIONS, FREQUENT_EMOTIONS

MIN_POSITIVES = 5
"""Fewer positives, or fewer negatives, and the AUC is not estimable (the paper's fear curve had one positive)."""

MIN_SPEAKERS = 5
"""From this many groups on, whole speakers are resampled; below it, utterances."""

RESAMPLES = 1000
INTERVAL_PERCENT = (2.5, 97.5)
_CELLS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Resamples:
    """Bootstrap resamples of whole groups; the same groups, number and seed give the same ones, for any measure.

    counts_RG: how often each resample draws each group; group_N: the group of each utterance, from 0;
    resampled: "speakers", or "utterances" where there are fewer than five speakers.
    """

    counts_RG: np.ndarray
    group_N: np.ndarray
    resampled: str

    @classmethod
    def draw(cls, groups_N: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Self:
        """groups_N: speaker of each utterance."""
        rng = np.random.default_rng(seed)
        _, group_N = np.unique(np.asarray(groups_N), return_inverse=True)
        groups, resampled = group_N.max() + 1, "speakers"
        if groups < MIN_SPEAKERS:
            group_N, groups, resampled = np.arange(len(group_N)), len(group_N), "utterances"
        counts_RG = rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(np.float32)
        return cls(counts_RG, group_N, resampled)

    def each(self, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The statistic of every resample, (R,). It gets the weights (r, N) of some resamples at a time."""
        rows = max(1, _CELLS_AT_ONCE // len(self.group_N))
        starts = range(0, len(self.counts_RG), rows)
        return np.concatenate([statistic(self.counts_RG[k : k + rows][:, self.group_N]) for k in starts])

    def sums(self, values_NK: np.ndarray) -> np.ndarray:
        """Sums of K values over the utterances of every resample, (R, K), without going through the utterances."""
        sums_GK = np.zeros((self.counts_RG.shape[1], values_NK.shape[1]))
        np.add.at(sums_GK, self.group_N, values_NK)
        return self.counts_RG.astype(np.float64) @ sums_GK

    def mean_recalls(self, right_N: np.ndarray, of_class_NK: np.ndarray) -> np.ndarray:
        """Mean over K classes of the part of each that is right, for every resample, (R,). right_N, of_class_NK: bool.

        A class that a resample lacks keeps its part over all utterances: a mean over fewer classes has another chance level.
        """
        right_RK, all_RK = self.sums(of_class_NK & right_N[:, None]), self.sums(of_class_NK)
        recall_K = (of_class_NK & right_N[:, None]).sum(0) / of_class_NK.sum(0)
        return np.where(all_RK > 0, right_RK / np.maximum(all_RK, 1), recall_K).mean(1)


def interval(values_R: np.ndarray) -> tuple[float | None, float | None]:
    """The 95 % percentile interval, without the resamples that give no value; (None, None) where none does."""
    values_R = values_R[np.isfinite(values_R)]
    if len(values_R) == 0:
        return None, None
    low, high = np.percentile(values_R, INTERVAL_PERCENT)
    return float(low), float(high)


def emotion_auc(
    scores_NE: np.ndarray, dominant_N: np.ndarray, groups_N: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict]:
    """For each emotion {"value", "low", "high", "positives", "resampled"}; JSON-ready.

    scores_NE: softmax of the student's logits; dominant_N: index of the teacher's dominant emotion (argmax of the
    maximum over all frames); groups_N: speaker of each utterance. low, high: 95 % percentile interval over resampled
    "speakers", or "utterances" when there are fewer than five speakers. value is None where the AUC is not estimable.
    """
    scores_NE, dominant_N = _checked(scores_NE, dominant_N, groups_N)
    drawn = Resamples.draw(groups_N, resamples, seed)
    result = {}
    for index, emotion in enumerate(EMOTIONS):
        positive_N = dominant_N == index
        value = low = high = None
        if _is_estimable(positive_N):
            value = float(roc_auc_score(positive_N, scores_NE[:, index]))
            low, high = interval(_resampled_auc(scores_NE[:, index], positive_N, drawn))
        positives = int(positive_N.sum())
        result[emotion] = {
            "value": value,
            "low": low,
            "high": high,
            "positives": positives,
            "resampled": drawn.resampled,
        }
    return result


def mean_auc(
    scores_NE: np.ndarray, dominant_N: np.ndarray, groups_N: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> dict:
    """The paper's headline, the mean AUC over the estimable ones of FREQUENT_EMOTIONS.

    Returns {"value", "low", "high", "emotions", "resampled"}. The interval is that of the mean itself
    (all its emotions share each resample). value is None if none is estimable.
    """
    scores_NE, dominant_N = _checked(scores_NE, dominant_N, groups_N)
    drawn = Resamples.draw(groups_N, resamples, seed)
    value, values_R, emotions = _mean_auc(scores_NE, dominant_N, drawn)
    low, high = interval(values_R)
    return {"value": value, "low": low, "high": high, "emotions": emotions, "resampled": drawn.resampled}


def mean_auc_difference(
    scores_NE: np.ndarray,
    reference_NE: np.ndarray,
    dominant_N: np.ndarray,
    groups_N: np.ndarray,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict:
    """Mean AUC of `scores_NE` minus that of `reference_NE`, two students on the same utterances.

    Returns {"value", "low", "high", "emotions", "resampled"} as `mean_auc`. The interval is paired: both students are
    measured on the same resamples, so what makes utterances hard for both cancels.
    """
    scores_NE, dominant_N = _checked(scores_NE, dominant_N, groups_N)
    reference_NE, _ = _checked(reference_NE, dominant_N, groups_N)
    drawn = Resamples.draw(groups_N, resamples, seed)
    value, values_R, emotions = _mean_auc(scores_NE, dominant_N, drawn)
    other, other_R, _ = _mean_auc(reference_NE, dominant_N, drawn)
    low, high = interval(values_R - other_R)
    difference = None if value is None else value - other
    return {"value": difference, "low": low, "high": high, "emotions": emotions, "resampled": drawn.resampled}


def _mean_auc(
    scores_NE: np.ndarray, dominant_N: np.ndarray, drawn: Resamples
) -> tuple[float | None, np.ndarray, list[str]]:
    """The mean, that of every resample (R,), NaN where it lacks an emotion, and over which emotions it goes."""
    emotions = [emotion for emotion in FREQUENT_EMOTIONS if _is_estimable(dominant_N == EMOTIONS.index(emotion))]
    if not emotions:
        return None, np.full(len(drawn.counts_RG), np.nan), emotions
    pairs = [(scores_NE[:, k], dominant_N == k) for k in map(EMOTIONS.index, emotions)]
    value = float(np.mean([roc_auc_score(positive_N, score_N) for score_N, positive_N in pairs]))
    return value, sum(_resampled_auc(*pair, drawn) for pair in pairs) / len(pairs), emotions


def _checked(scores_NE: np.ndarray, dominant_N: np.ndarray, groups_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores_NE, dominant_N = np.asarray(scores_NE, dtype=np.float64), np.asarray(dominant_N)
    n = len(dominant_N)
    if n == 0 or scores_NE.shape != (n, len(EMOTIONS)) or len(groups_N) != n:
        shapes = f"scores {scores_NE.shape}, dominant {dominant_N.shape}, groups ({len(groups_N)},)"
        raise ValueError(f"{shapes}: give N x {len(EMOTIONS)} scores, N labels and N groups, with N of at least 1")
    if not np.isfinite(scores_NE).all():
        raise ValueError(
            f"{int((~np.isfinite(scores_NE)).any(1).sum())} of {n} rows of scores are not finite; look at those clips"
        )
    return scores_NE, dominant_N


def _is_estimable(positive_N: np.ndarray) -> bool:
    return MIN_POSITIVES <= positive_N.sum() <= len(positive_N) - MIN_POSITIVES


def _resampled_auc(score_N: np.ndarray, positive_N: np.ndarray, drawn: Resamples) -> np.ndarray:
    return drawn.each(lambda weights_RN: _weighted_auc(score_N, positive_N, weights_RN))


def _weighted_auc(score_N: np.ndarray, positive_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """AUC of each resample (R,): P(a positive outranks a negative) + half of the ties; NaN where one kind is absent."""
    order_N = np.argsort(score_N, kind="stable")
    score_N, positive_N, weights_RN = score_N[order_N], positive_N[order_N], weights_RN[:, order_N]
    negatives_RN = np.cumsum(weights_RN * ~positive_N, axis=1, dtype=np.float64)
    first_P, after_P = (np.searchsorted(score_N, score_N[positive_N], side) for side in ("left", "right"))
    below_RP = np.where(first_P > 0, negatives_RN[:, first_P - 1], 0) / 2 + negatives_RN[:, after_P - 1] / 2
    weights_RP = weights_RN[:, positive_N].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.einsum("rp,rp->r", weights_RP, below_RP) / (weights_RP.sum(1) * negatives_RN[:, -1])
