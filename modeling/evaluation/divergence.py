"""How far the student's probabilities are from the teacher's: divergence, rank correlation, confusion.

The AUCs of `auc.py` only ask whether the dominant emotion is ranked high; here the probabilities themselves are
compared. Emotions that a teacher does not know (logit -100) are left out of both, utterance by utterance.
Intervals come from `bootstrap.Resamples`. Shape letters: N utterances, E = 8 emotions, R bootstrap resamples.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, softmax
from scipy.stats import spearmanr

from modeling.emotions import EMOTIONS, MASKED_BELOW
from modeling.evaluation.bootstrap import NOT_ESTIMABLE, RESAMPLES, Estimate, Resamples, interval

LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""A probability that a float32 softmax rounds to zero counts as this, so it costs 87 nats and not infinity."""

MIN_UTTERANCES = 5
"""With fewer utterances a rank correlation is not estimable."""


@dataclass(frozen=True)
class MeanDivergence(Estimate):
    """Mean KL(teacher || student) in nats.

    constant: the divergence of a student that always answers the mean of the teacher's answers. A student that has learned
    anything from the voice is below it.
    """

    constant: float


@dataclass(frozen=True)
class BalancedAccuracy(Estimate):
    """Mean recall. emotions: how many emotions it averages, those that occur as dominant."""

    emotions: int


def teacher_probabilities(logits_NE: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax of the teacher's aggregated logits, (N, E); exactly 0 for emotions that it does not know."""
    logits_NE = np.asarray(logits_NE, np.float64)
    return softmax(np.where(logits_NE > MASKED_BELOW, logits_NE / temperature, -np.inf), axis=1)


def divergences(probabilities_NE: np.ndarray, logits_NE: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """KL(teacher || student) of each utterance in nats, (N,); 0 where both agree.

    probabilities_NE: the student's at temperature 1; logits_NE: the teacher's. Both are converted to the temperature.
    """
    logits_NE = np.asarray(logits_NE, np.float64)
    known_NE = logits_NE > MASKED_BELOW
    student_NE = np.log(np.maximum(np.asarray(probabilities_NE, np.float64), LEAST_PROBABILITY)) / temperature
    student_NE = log_softmax(np.where(known_NE, student_NE, -np.inf), axis=1)
    teacher_NE = log_softmax(np.where(known_NE, logits_NE / temperature, -np.inf), axis=1)
    gap_NE = np.zeros_like(logits_NE)
    np.subtract(teacher_NE, student_NE, out=gap_NE, where=known_NE)
    return (np.exp(teacher_NE) * gap_NE).sum(1)


def mean_divergence(
    probabilities_NE: np.ndarray,
    logits_NE: np.ndarray,
    groups_N: np.ndarray,
    *,
    temperature: float = 1.0,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> MeanDivergence:
    """Mean of `divergences` over the utterances."""
    divergence_N = divergences(probabilities_NE, logits_NE, temperature)
    teacher_NE = teacher_probabilities(logits_NE, temperature)
    mean_E = teacher_NE.mean(0, keepdims=True) ** temperature  # `divergences` applies the temperature again
    constant_N = divergences(np.repeat(mean_E / mean_E.sum(), len(teacher_NE), axis=0), logits_NE, temperature)
    mean = _mean(divergence_N, groups_N, resamples, seed)
    return MeanDivergence(mean.value, mean.low, mean.high, constant=float(constant_N.mean()))


def divergence_difference(
    probabilities_NE: np.ndarray,
    reference_NE: np.ndarray,
    logits_NE: np.ndarray,
    groups_N: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean KL(teacher || student) minus that of a reference student on the same utterances."""
    difference_N = divergences(probabilities_NE, logits_NE) - divergences(reference_NE, logits_NE)
    return _mean(difference_N, groups_N, resamples, seed)


def rank_correlations(
    probabilities_NE: np.ndarray,
    logits_NE: np.ndarray,
    groups_N: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Spearman's correlation of both probabilities over the utterances, for each emotion.

    Utterances whose teacher does not know the emotion are left out. value is None if fewer than five remain or either side
    is constant.
    """
    teacher_NE, drawn = teacher_probabilities(logits_NE), Resamples.draw(groups_N, resamples, seed)
    known_NE = np.asarray(logits_NE) > MASKED_BELOW
    probabilities_NE = np.asarray(probabilities_NE, np.float64)
    return {
        emotion: _rank_correlation(probabilities_NE[:, k], teacher_NE[:, k], known_NE[:, k], drawn)
        for k, emotion in enumerate(EMOTIONS)
    }


def confusion(predicted_N: np.ndarray, truth_N: np.ndarray) -> np.ndarray:
    """Counts (E, E): a row is the true emotion (for a student, the teacher's dominant one), a column the predicted one."""
    counts_EE = np.zeros((len(EMOTIONS), len(EMOTIONS)), int)
    np.add.at(counts_EE, (truth_N, predicted_N), 1)
    return counts_EE


def balanced_accuracy(
    predicted_N: np.ndarray,
    dominant_N: np.ndarray,
    groups_N: np.ndarray,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> BalancedAccuracy:
    """Mean recall of the emotions that occur as dominant; every resample averages the same emotions (`mean_recalls`)."""
    predicted_N, dominant_N = np.asarray(predicted_N), np.asarray(dominant_N)
    is_NK, right_N = dominant_N[:, None] == np.unique(dominant_N), predicted_N == dominant_N
    low, high = interval(Resamples.draw(groups_N, resamples, seed).mean_recalls(right_N, is_NK))
    value = float(np.mean([right_N[of_emotion].mean() for of_emotion in is_NK.T]))
    return BalancedAccuracy(value, low, high, emotions=is_NK.shape[1])


def _mean(values_N: np.ndarray, groups_N: np.ndarray, resamples: int, seed: int) -> Estimate:
    return Estimate(float(values_N.mean()), *interval(Resamples.draw(groups_N, resamples, seed).means(values_N)))


def _rank_correlation(student_N: np.ndarray, teacher_N: np.ndarray, known_N: np.ndarray, drawn: Resamples) -> Estimate:
    student_N, teacher_N = student_N[known_N], teacher_N[known_N]
    if len(student_N) < MIN_UTTERANCES or np.ptp(student_N) == 0 or np.ptp(teacher_N) == 0:
        return NOT_ESTIMABLE
    values_R = drawn.each(lambda weights_RN: _weighted_spearman(student_N, teacher_N, weights_RN[:, known_N]))
    statistic = spearmanr(student_N, teacher_N).statistic  # pyright: ignore[reportAttributeAccessIssue]
    return Estimate(float(statistic), *interval(values_R))


def _weighted_spearman(x_N: np.ndarray, y_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each resample (R,), as if its rows were repeated; NaN if one side is constant."""
    weights_RN = weights_RN.astype(np.float64)
    total_R1 = weights_RN.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        x_RN, y_RN = (_weighted_ranks(v_N, weights_RN) - total_R1 / 2 for v_N in (x_N, y_N))  # their mean is total / 2
        products = [np.einsum("rn,rn,rn->r", weights_RN, a, b) for a, b in ((x_RN, y_RN), (x_RN, x_RN), (y_RN, y_RN))]
        return products[0] / np.sqrt(products[1] * products[2])


def _weighted_ranks(values_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """(R, N): the weight below each value plus half the weight of its ties, which is the mid-rank minus a half."""
    _, place_N = np.unique(values_N, return_inverse=True)
    order_N = np.argsort(place_N, kind="stable")
    ends = np.flatnonzero(np.diff(place_N[order_N], append=len(place_N)))  # the last place of each distinct value
    upto_RD = np.cumsum(weights_RN[:, order_N], axis=1)[:, ends]
    return (upto_RD - np.diff(upto_RD, axis=1, prepend=0) / 2)[:, place_N]
