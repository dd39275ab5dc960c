"""The evaluation of the paper (student_stats.m): one-vs-rest ROC-AUC of each emotion, with a bootstrap interval.

Shape letters: N utterances, E = 8 emotions, R bootstrap resamples, G groups (speakers).
"""

import numpy as np
from sklearn.metrics import roc_auc_score

from modeling.emotions import EMOTIONS, FREQUENT_EMOTIONS

MIN_POSITIVES = 5
"""Fewer positives, or fewer negatives, and the AUC is not estimable (the paper's fear curve had one positive)."""

MIN_SPEAKERS = 5
"""From this many groups on, whole speakers are resampled; below it, utterances."""

RESAMPLES = 1000
INTERVAL_PERCENT = (2.5, 97.5)
_CELLS_AT_ONCE = 4_000_000


def emotion_auc(
    scores_NE: np.ndarray, dominant_N: np.ndarray, groups_N: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict]:
    """For each emotion {"value", "low", "high", "positives", "resampled"}; JSON-ready.

    scores_NE: softmax of the student's logits; dominant_N: index of the teacher's dominant emotion (argmax of the
    maximum over all frames); groups_N: speaker of each utterance. low, high: 95 % percentile interval over resampled
    "speakers", or "utterances" when there are fewer than five speakers. value is None where the AUC is not estimable.
    """
    scores_NE, dominant_N = _checked(scores_NE, dominant_N, groups_N)
    weights_RN, resampled = _resample(groups_N, resamples, seed)
    result = {}
    for index, emotion in enumerate(EMOTIONS):
        positive_N = dominant_N == index
        value = low = high = None
        if _is_estimable(positive_N):
            value = float(roc_auc_score(positive_N, scores_NE[:, index]))
            low, high = _interval(_weighted_auc(scores_NE[:, index], positive_N, weights_RN))
        positives = int(positive_N.sum())
        result[emotion] = {"value": value, "low": low, "high": high, "positives": positives, "resampled": resampled}
    return result


def mean_auc(
    scores_NE: np.ndarray, dominant_N: np.ndarray, groups_N: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> dict:
    """The paper's headline, the mean AUC over the estimable ones of FREQUENT_EMOTIONS.

    Returns {"value", "low", "high", "emotions", "resampled"}. The interval is that of the mean itself
    (all its emotions share each resample). value is None if none is estimable.
    """
    scores_NE, dominant_N = _checked(scores_NE, dominant_N, groups_N)
    weights_RN, resampled = _resample(groups_N, resamples, seed)
    emotions = [emotion for emotion in FREQUENT_EMOTIONS if _is_estimable(dominant_N == EMOTIONS.index(emotion))]
    value = low = high = None
    if emotions:
        columns = [EMOTIONS.index(emotion) for emotion in emotions]
        value = float(np.mean([roc_auc_score(dominant_N == column, scores_NE[:, column]) for column in columns]))
        low, high = _interval(
            sum(_weighted_auc(scores_NE[:, c], dominant_N == c, weights_RN) for c in columns) / len(columns)
        )
    return {"value": value, "low": low, "high": high, "emotions": emotions, "resampled": resampled}


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


def _resample(groups_N: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, str]:
    """How often each resample draws each utterance, float32 (R, N), and what was drawn."""
    rng = np.random.default_rng(seed)
    _, group_N = np.unique(np.asarray(groups_N), return_inverse=True)
    groups = group_N.max() + 1
    if groups < MIN_SPEAKERS:
        group_N, groups, resampled = np.arange(len(group_N)), len(group_N), "utterances"
    else:
        resampled = "speakers"
    counts_RG = rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(np.float32)
    return counts_RG[:, group_N], resampled


def _weighted_auc(score_N: np.ndarray, positive_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """AUC of each resample (R,): P(a positive outranks a negative) + half of the ties; NaN where one kind is absent."""
    order_N = np.argsort(score_N, kind="stable")
    starts = np.flatnonzero(np.diff(score_N[order_N], prepend=-np.inf) > 0)  # one start for each distinct score
    positive_N = positive_N[order_N]
    rows = max(1, _CELLS_AT_ONCE // len(score_N))
    parts = []
    for first in range(0, len(weights_RN), rows):
        weights = weights_RN[first : first + rows, order_N].astype(np.float64)
        positives = np.add.reduceat(weights * positive_N, starts, axis=1)
        negatives = np.add.reduceat(weights * ~positive_N, starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        pairs = positives.sum(1) * negatives.sum(1)
        with np.errstate(invalid="ignore"):
            parts.append((positives * below).sum(1) / pairs)
    return np.concatenate(parts)


def _interval(auc_R: np.ndarray) -> tuple[float | None, float | None]:
    auc_R = auc_R[np.isfinite(auc_R)]
    if len(auc_R) == 0:
        return None, None
    low, high = np.percentile(auc_R, INTERVAL_PERCENT)
    return float(low), float(high)
