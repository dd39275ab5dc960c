"""Estimates with 95 % intervals from a bootstrap over whole groups, such as speakers.

Shape letters: N utterances, R bootstrap resamples, G groups (speakers), K sums.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

MIN_SPEAKERS = 5
"""With at least this many speakers, whole speakers are resampled; with fewer, utterances."""

RESAMPLES = 1000
INTERVAL_PERCENT = (2.5, 97.5)
_CELLS_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Estimate:
    """A figure and the ends of its 95 % interval; each is None if it cannot be estimated."""

    value: float | None
    low: float | None
    high: float | None


NOT_ESTIMABLE = Estimate(None, None, None)


@dataclass(frozen=True)
class Resamples:
    """Bootstrap resamples of whole groups. The same groups, number and seed give the same resamples for every measure.

    counts_RG: how often each resample draws each group; group_N: the group of each utterance, from 0;
    resampled: "speakers", or "utterances" if there are too few speakers.
    """

    counts_RG: np.ndarray
    group_N: np.ndarray
    resampled: str

    @classmethod
    def draw(
        cls, groups_N: ArrayLike, resamples: int = RESAMPLES, seed: int = 0, *, min_groups: int = MIN_SPEAKERS
    ) -> Self:
        """groups_N: speaker of each utterance. With fewer than min_groups speakers, single utterances are resampled."""
        rng = np.random.default_rng(seed)
        _, group_N = np.unique(np.asarray(groups_N), return_inverse=True)
        groups, resampled = int(group_N.max()) + 1, "speakers"
        if groups < min_groups:
            group_N, groups, resampled = np.arange(len(group_N)), len(group_N), "utterances"
        counts_RG = rng.multinomial(groups, np.full(groups, 1 / groups), size=resamples).astype(np.float32)
        return cls(counts_RG, group_N, resampled)

    def each(self, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """The statistic of every resample, (R,). It is called with the weights (r, N) of some resamples at a time."""
        rows = max(1, _CELLS_AT_ONCE // len(self.group_N))
        starts = range(0, len(self.counts_RG), rows)
        return np.concatenate([statistic(self.counts_RG[k : k + rows][:, self.group_N]) for k in starts])

    def sums(self, values_NK: np.ndarray) -> np.ndarray:
        """Sums of K values over the utterances of every resample, (R, K), computed from the sums of groups."""
        sums_GK = np.zeros((self.counts_RG.shape[1], values_NK.shape[1]))
        np.add.at(sums_GK, self.group_N, values_NK)
        return self.counts_RG.astype(np.float64) @ sums_GK

    def counts(self, class_N: np.ndarray, classes: int) -> np.ndarray:
        """How many utterances of each class are in every resample, (R, classes). class_N: from 0."""
        groups = self.counts_RG.shape[1]
        of_GK = np.bincount(self.group_N * classes + class_N, minlength=groups * classes).reshape(groups, classes)
        return self.counts_RG.astype(np.float64) @ of_GK

    def means(self, values_N: np.ndarray) -> np.ndarray:
        """Mean over the utterances of every resample, (R,)."""
        sums_R, counts_R = self.sums(np.stack([values_N, np.ones(len(values_N))], axis=1)).T
        return sums_R / counts_R

    def mean_recalls(self, right_N: np.ndarray, of_class_NK: np.ndarray) -> np.ndarray:
        """Mean recall over K classes in every resample, (R,).

        A class that a resample lacks keeps its recall over all utterances, because a mean over fewer classes would have
        another chance level.
        """
        right_RK, all_RK = self.sums(of_class_NK & right_N[:, None]), self.sums(of_class_NK)
        recall_K = (of_class_NK & right_N[:, None]).sum(0) / of_class_NK.sum(0)
        return np.where(all_RK > 0, right_RK / np.maximum(all_RK, 1), recall_K).mean(1)


def interval(values_R: np.ndarray) -> tuple[float | None, float | None]:
    """The 95 % percentile interval over the resamples that have a value; (None, None) if none has."""
    values_R = values_R[np.isfinite(values_R)]
    if len(values_R) == 0:
        return None, None
    low, high = np.percentile(values_R, INTERVAL_PERCENT)
    return float(low), float(high)
