"""Whether probabilities mean what they say: how often what is held to be p likely is so, and the temperature that helps.

Shape letters: N answers, E = classes.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

BINS = 15
"""Bins of the expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2)."""
TEMPERATURES = (0.05, 20.0)
"""Least and greatest temperature that is tried."""


@dataclass(frozen=True)
class ReliabilityBin:
    """The faces whose confidence is above `low` up to `high`: their mean confidence and accuracy, None without any."""

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


def calibration(logits_NE: np.ndarray, truth_N: np.ndarray) -> tuple[float | None, tuple[ReliabilityBin, ...]]:
    """Expected calibration error and its bins."""
    confidence_N = softmax(logits_NE, axis=1).max(axis=1)
    right_N = logits_NE.argmax(axis=1) == truth_N
    bin_N = np.clip(np.ceil(confidence_N * BINS).astype(int) - 1, 0, BINS - 1)
    bins: list[ReliabilityBin] = []
    for index in range(BINS):
        inside_N = bin_N == index
        n = int(inside_N.sum())
        confidence = float(confidence_N[inside_N].mean()) if n else None
        accuracy = float(right_N[inside_N].mean()) if n else None
        bins.append(ReliabilityBin(index / BINS, (index + 1) / BINS, n, confidence, accuracy))
    gap = sum(b.n * abs(b.confidence - b.accuracy) for b in bins if b.confidence is not None and b.accuracy is not None)
    return (gap / len(truth_N) if len(truth_N) else None), tuple(bins)


def mean_cross_entropy(logits_NE: np.ndarray, target_NE: np.ndarray, temperature: float = 1.0) -> float:
    """Against distributions (N, E)."""
    return float(-(target_NE * log_softmax(logits_NE / temperature, axis=1)).sum(axis=1).mean())


def best_temperature(logits_NE: np.ndarray, target_NE: np.ndarray) -> float:
    """The temperature at which `mean_cross_entropy` is least."""
    found = minimize_scalar(
        lambda x: mean_cross_entropy(logits_NE, target_NE, np.exp(x)), bounds=np.log(TEMPERATURES), method="bounded"
    )
    return float(np.exp(found.x))  # pyright: ignore[reportAttributeAccessIssue]
