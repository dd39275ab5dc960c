"""The paper's evaluation (student_stats.m): one-vs-rest ROC-AUC of each emotion, with a bootstrap interval.

Shape letters: N utterances, E = 8 emotions, R bootstrap resamples, P positives.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from modeling.emotions import EMOTIONS, FREQUENT_EMOTIONS
from modeling.evaluation.bootstrap import RESAMPLES, Estimate, Resamples, interval

MIN_POSITIVES = 5
"""With fewer positives or fewer negatives the AUC is not estimable (the paper's fear curve had one positive)."""


@dataclass(frozen=True)
class EmotionAuc(Estimate):
    """AUC of one emotion; value is None if it is not estimable. positives: utterances whose dominant emotion it is."""

    positives: int


@dataclass(frozen=True)
class MeanAuc(Estimate):
    """Mean AUC, or the difference of two, over those of `FREQUENT_EMOTIONS` that are estimable; None if none is.

    resampled: "speakers", or "utterances" if there are fewer than five speakers.
    """

    emotions: tuple[str, ...]
    resampled: str


def is_estimable(positive_N: np.ndarray) -> bool:
    """Whether there are at least `MIN_POSITIVES` positives and as many negatives."""
    return bool(MIN_POSITIVES <= positive_N.sum() <= len(positive_N) - MIN_POSITIVES)


def auc_of(score_N: np.ndarray, positive_N: np.ndarray) -> float:
    """P(a positive outranks a negative) + P(they tie) / 2."""
    return float(roc_auc_score(positive_N, score_N))


def resampled_auc(score_N: np.ndarray, positive_N: np.ndarray, drawn: Resamples) -> np.ndarray:
    """AUC of every resample, (R,); NaN if it lacks positives or negatives."""
    return drawn.each(lambda weights_RN: weighted_auc(score_N, positive_N, weights_RN))


def weighted_auc(score_N: np.ndarray, positive_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """AUC (R,) with utterance n counted weights_RN[:, n] times; NaN if no positive or no negative counts."""
    order_N = np.argsort(score_N, kind="stable")
    score_N, positive_N, weights_RN = score_N[order_N], positive_N[order_N], weights_RN[:, order_N]
    negatives_RN = np.cumsum(weights_RN * ~positive_N, axis=1, dtype=np.float64)
    first_P, after_P = (np.searchsorted(score_N, score_N[positive_N], side) for side in ("left", "right"))
    below_RP = np.where(first_P > 0, negatives_RN[:, first_P - 1], 0) / 2 + negatives_RN[:, after_P - 1] / 2
    weights_RP = weights_RN[:, positive_N].astype(np.float64)
    with np.errstate(invalid="ignore"):
        return np.einsum("rp,rp->r", weights_RP, below_RP) / (weights_RP.sum(1) * negatives_RN[:, -1])


def emotion_auc(
    scores_NE: np.ndarray, dominant_N: np.ndarray, groups_N: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, EmotionAuc]:
    """The AUC of each emotion.

    scores_NE: softmax of the student's logits; dominant_N: index of the teacher's dominant emotion (argmax of the
    maximum over all frames); groups_N: speaker of each utterance. Speakers are resampled (`Resamples`).
    """
    scores_NE, dominant_N = _checked(scores_NE, dominant_N, groups_N)
    drawn = Resamples.draw(groups_N, resamples, seed)
    result: dict[str, EmotionAuc] = {}
    for index, emotion in enumerate(EMOTIONS):
        score_N, positive_N = scores_NE[:, index], dominant_N == index
        value = low = high = None
        if is_estimable(positive_N):
            value = auc_of(score_N, positive_N)
            low, high = interval(resampled_auc(score_N, positive_N, drawn))
        result[emotion] = EmotionAuc(value, low, high, positives=int(positive_N.sum()))
    return result


def mean_auc(
    scores_NE: np.ndarray, dominant_N: np.ndarray, groups_N: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> MeanAuc:
    """The paper's headline figure. The interval is that of the mean itself: its emotions share each resample."""
    scores_NE, dominant_N = _checked(scores_NE, dominant_N, groups_N)
    drawn = Resamples.draw(groups_N, resamples, seed)
    value, values_R, emotions = _mean_auc(scores_NE, dominant_N, drawn)
    return MeanAuc(value, *interval(values_R), emotions=emotions, resampled=drawn.resampled)


def mean_auc_difference(
    scores_NE: np.ndarray,
    reference_NE: np.ndarray,
    dominant_N: np.ndarray,
    groups_N: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> MeanAuc:
    """Mean AUC of `scores_NE` minus that of `reference_NE`, two students on the same utterances.

    The interval is paired: both students are measured on the same resamples, so the difficulty of utterances cancels.
    """
    scores_NE, dominant_N = _checked(scores_NE, dominant_N, groups_N)
    reference_NE, _ = _checked(reference_NE, dominant_N, groups_N)
    drawn = Resamples.draw(groups_N, resamples, seed)
    value, values_R, emotions = _mean_auc(scores_NE, dominant_N, drawn)
    other, other_R, _ = _mean_auc(reference_NE, dominant_N, drawn)
    difference = None if value is None or other is None else value - other
    return MeanAuc(difference, *interval(values_R - other_R), emotions=emotions, resampled=drawn.resampled)


def _mean_auc(
    scores_NE: np.ndarray, dominant_N: np.ndarray, drawn: Resamples
) -> tuple[float | None, np.ndarray, tuple[str, ...]]:
    """The mean, the mean of every resample (R,) (NaN if it lacks an emotion), and the emotions they include."""
    emotions = tuple(name for name in FREQUENT_EMOTIONS if is_estimable(dominant_N == EMOTIONS.index(name)))
    if not emotions:
        return None, np.full(len(drawn.counts_RG), np.nan), emotions
    pairs = [(scores_NE[:, k], dominant_N == k) for k in map(EMOTIONS.index, emotions)]
    value = float(np.mean([auc_of(*pair) for pair in pairs]))
    return value, np.sum([resampled_auc(*pair, drawn) for pair in pairs], axis=0) / len(pairs), emotions


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
