"""How far two answers to the same utterances agree, where neither is the truth: labels of two teachers, for example.

Shape letters: N utterances, E = 8 emotions, R bootstrap resamples.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import rel_entr

from modeling.emotions import EMOTIONS, MASKED_BELOW, MASKED_LOGIT
from modeling.evaluation.bootstrap import MIN_SPEAKERS, RESAMPLES, Estimate, Resamples, interval
from modeling.evaluation.divergence import confusion, divergences, teacher_probabilities

MOST_RESAMPLED = 20_000
"""Utterances of fewer than `MIN_SPEAKERS` speakers are resampled one by one up to this number. With more there is no interval:
it would take gigabytes, and say nothing about other speakers."""

ROWS_AT_ONCE = 100_000


@dataclass(frozen=True)
class EmotionAgreement(Estimate):
    """Of the `n` utterances in which A finds an emotion dominant, the share in which B does too."""

    n: int


@dataclass(frozen=True)
class DominantAgreement:
    """On the dominant emotion. overall: share of utterances; confusion: counts (E, E), a row is A's emotion, a column B's;
    kappa: Cohen's, 1 for full agreement, 0 for that of chance; resampled: what the intervals resample, None without them."""

    overall: Estimate
    by_emotion: dict[str, EmotionAgreement]
    kappa: Estimate
    confusion: np.ndarray
    resampled: str | None


@dataclass(frozen=True)
class SoftDifferences:
    """Of each utterance. js_N: Jensen-Shannon distance (`jensen_shannon`); kl_ab_N: KL(A || B) in nats; kl_ba_N: KL(B || A)."""

    js_N: np.ndarray
    kl_ab_N: np.ndarray
    kl_ba_N: np.ndarray


def draw(groups_N: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Resamples | None:
    """`Resamples.draw`; None for more than `MOST_RESAMPLED` utterances of too few speakers."""
    if len(groups_N) > MOST_RESAMPLED and len(np.unique(groups_N)) < MIN_SPEAKERS:
        return None
    return Resamples.draw(groups_N, resamples, seed)


def dominant_agreement(a_N: np.ndarray, b_N: np.ndarray, drawn: Resamples | None) -> DominantAgreement:
    """a_N, b_N: index of the dominant emotion; drawn: from `draw` over the same utterances."""
    classes = len(EMOTIONS)
    counts_EE = confusion(b_N, a_N)
    resampled_REE = np.empty((0, classes, classes))
    if drawn is not None:
        resampled_REE = drawn.counts(a_N * classes + b_N, classes**2).reshape(-1, classes, classes)
    same_E, all_E = np.diagonal(counts_EE), counts_EE.sum(1)
    same_RE, all_RE = np.diagonal(resampled_REE, axis1=1, axis2=2), resampled_REE.sum(2)
    overall = Estimate(float(same_E.sum() / all_E.sum()), *interval(same_RE.sum(1) / all_RE.sum(1)))
    by_emotion = {}
    for k, emotion in enumerate(EMOTIONS):
        share = float(same_E[k] / all_E[k]) if all_E[k] else None
        drawn_R = all_RE[:, k] > 0
        by_emotion[emotion] = EmotionAgreement(
            share, *interval(same_RE[drawn_R, k] / all_RE[drawn_R, k]), int(all_E[k])
        )
    kappa = cohens_kappa(counts_EE)
    kappas_R = cohens_kappa(resampled_REE)
    return DominantAgreement(
        overall,
        by_emotion,
        Estimate(float(kappa) if np.isfinite(kappa) else None, *interval(kappas_R)),
        counts_EE,
        drawn.resampled if drawn is not None else None,
    )


def cohens_kappa(counts_EE: np.ndarray) -> np.ndarray:
    """Cohen's kappa (1960) of a confusion (..., E, E); NaN where both name one emotion only, so that chance agrees too."""
    total = counts_EE.sum((-2, -1))
    observed = np.trace(counts_EE, axis1=-2, axis2=-1) / total
    by_chance = (counts_EE.sum(-1) * counts_EE.sum(-2)).sum(-1) / total.astype(np.float64) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(by_chance < 1, (observed - by_chance) / (1 - by_chance), np.nan)


def known_to_both(a_NE: np.ndarray, b_NE: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The logits, with emotions that one of the teachers does not know masked in both."""
    known_NE = (a_NE > MASKED_BELOW) & (b_NE > MASKED_BELOW)
    return np.where(known_NE, a_NE, MASKED_LOGIT), np.where(known_NE, b_NE, MASKED_LOGIT)


def soft_differences(a_NE: np.ndarray, b_NE: np.ndarray) -> SoftDifferences:
    """From the logits of both, at temperature 1 and over the emotions that both know, of which there must be one."""
    parts: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(a_NE), ROWS_AT_ONCE):  # in float64 all of a large set would take gigabytes
        rows = slice(start, start + ROWS_AT_ONCE)
        own_NE, other_NE = known_to_both(a_NE[rows], b_NE[rows])
        p_NE, q_NE = teacher_probabilities(own_NE), teacher_probabilities(other_NE)
        parts.append((jensen_shannon(p_NE, q_NE), divergences(q_NE, own_NE), divergences(p_NE, other_NE)))
    return SoftDifferences(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def jensen_shannon(p_NE: np.ndarray, q_NE: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distance of two distributions, (N,): the square root of their divergence in bits. 0 where they are equal,
    1 where they share nothing."""
    middle_NE = (p_NE + q_NE) / 2
    bits_N = (rel_entr(p_NE, middle_NE) + rel_entr(q_NE, middle_NE)).sum(1) / (2 * np.log(2))
    return np.sqrt(np.clip(bits_N, 0, 1))


def mean_estimate(values_N: np.ndarray, drawn: Resamples | None) -> Estimate:
    """Mean over the utterances."""
    ends = interval(drawn.means(values_N)) if drawn is not None else (None, None)
    return Estimate(float(values_N.mean()), *ends)
