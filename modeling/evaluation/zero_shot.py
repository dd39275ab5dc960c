"""A student's own eight outputs against the true emotions of a corpus of which it heard nothing: zero-shot, cross-corpus.

Shape letters: N clips, E = 8 emotions, K emotions that the corpus has, R bootstrap resamples.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from sklearn.metrics import confusion_matrix

from modeling.emotions import EMOTIONS
from modeling.evaluation.auc import EmotionAuc, auc_of, is_estimable, resampled_auc
from modeling.evaluation.bootstrap import Estimate, Resamples, interval


@dataclass(frozen=True)
class ZeroShotScores:
    """auc: of each of the corpus's emotions, one against the rest; mean_auc: over those that can be estimated.

    uar: mean recall where the answer is the likeliest of the corpus's emotions; confusion (K, K): true (rows) and answered.
    resampled: for the intervals, "speakers", or "clips" where there are fewer than five speakers.
    """

    auc: dict[str, EmotionAuc]
    mean_auc: Estimate
    uar: Estimate
    confusion: np.ndarray
    resampled: str


def zero_shot_scores(
    scores_NE: np.ndarray, truth_N: np.ndarray, speakers_N: np.ndarray, seed: int = 0
) -> ZeroShotScores:
    """scores_NE: any that rank clips by each emotion, such as probabilities; truth_N: index of the true emotion.

    Raises ValueError where a score is not finite.
    """
    scores_NE, truth_N = np.asarray(scores_NE, np.float64), np.asarray(truth_N)
    if not np.isfinite(scores_NE).all():
        raise ValueError(
            f"{int((~np.isfinite(scores_NE)).any(1).sum())} of {len(scores_NE)} rows of scores are not finite"
        )
    present_K = np.unique(truth_N)
    drawn = Resamples.draw(speakers_N, seed=seed)
    estimable = [k for k in present_K if is_estimable(truth_N == k)]
    resampled = {k: resampled_auc(scores_NE[:, k], truth_N == k, drawn) for k in estimable}
    values = {k: auc_of(scores_NE[:, k], truth_N == k) for k in estimable}
    auc = {
        EMOTIONS[k]: EmotionAuc(
            values.get(k), *(interval(resampled[k]) if k in resampled else (None, None)), int((truth_N == k).sum())
        )
        for k in present_K
    }
    answered_N = present_K[scores_NE[:, present_K].argmax(1)]
    return ZeroShotScores(
        auc,
        _mean(values, resampled),
        _mean_recall(answered_N, truth_N, drawn),
        confusion_matrix(truth_N, answered_N, labels=present_K),
        "clips" if drawn.resampled == "utterances" else drawn.resampled,
    )


def _mean(values: dict[int, float], resampled: dict[int, np.ndarray]) -> Estimate:
    """All emotions share each resample."""
    if not values:
        return Estimate(None, None, None)
    return Estimate(float(np.mean(list(values.values()))), *interval(np.mean(list(resampled.values()), axis=0)))


def _mean_recall(answered_N: np.ndarray, truth_N: np.ndarray, drawn: Resamples) -> Estimate:
    right_N, of_class_NK = answered_N == truth_N, truth_N[:, None] == np.unique(truth_N)
    value = float(np.mean([right_N[of_class].mean() for of_class in of_class_NK.T]))
    return Estimate(value, *interval(drawn.mean_recalls(right_N, of_class_NK)))


def without_speaker_mean(values_NF: np.ndarray, speakers_N: np.ndarray) -> np.ndarray:
    """The mean over each speaker's own clips taken off."""
    centred_NF = np.array(values_NF, np.float64)
    for speaker in np.unique(speakers_N):
        own_N = np.asarray(speakers_N) == speaker
        centred_NF[own_N] -= centred_NF[own_N].mean(0)
    return centred_NF


def speaker_centred(logits_NE: np.ndarray, speakers_N: np.ndarray) -> np.ndarray:
    """Softmax of the logits, each speaker's mean taken off: how a clip differs from that person's others."""
    return softmax(without_speaker_mean(logits_NE, speakers_N), axis=1)
