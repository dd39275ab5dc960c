"""The controlled transfer benchmark: who is held out, which face goes with which voice, and how sure the result is.

Nothing like it is in the paper. Shape letters: N clips, S seeds, E = 8 emotions, G groups, R bootstrap resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from modeling.emotions import EMOTIONS, FREQUENT_EMOTIONS
from modeling.evaluation.auc import INTERVAL_PERCENT, MIN_POSITIVES, MIN_SPEAKERS, RESAMPLES

HELD_OUT_PART = 1 / 6
"""Part of the speakers that a seed holds out, where that is enough for an AUC."""
VAL_PART = 1 / 10
"""Part of the other speakers whose clips choose the checkpoint."""
CHANCE = 0.5


@dataclass(frozen=True)
class SpeakerSplit:
    """Who does what under one seed; every other speaker trains."""

    held_out: tuple[str, ...]
    val: tuple[str, ...]

    def of(self, speaker: str) -> str:
        """`unheard`, `val` or `train`, as in a distillation set."""
        return "unheard" if speaker in self.held_out else "val" if speaker in self.val else "train"


def split_speakers(speaker_N: Sequence[str], truth_N: np.ndarray, seeds: int) -> list[SpeakerSplit]:
    """One split for each seed; no speaker is held out twice.

    The speakers are put in one random order, always the same for the same names. Seed s holds out the h speakers from
    place s h on. h is a sixth of all (at least 1), or the next larger number with which every seed's part has enough
    clips (five with, five without) of each of the five frequent emotions that the speech has; at most half of the
    speakers, and all seeds' parts together at most all. A tenth of the others, at least one, are `val`.
    truth_N: index of each clip's true emotion. Raises ValueError where that cannot be done.
    """
    speaker_N, truth_N = np.asarray(speaker_N), np.asarray(truth_N)
    names = np.unique(speaker_N)
    if seeds < 1 or len(names) < max(3, seeds):
        raise ValueError(
            f"{len(names)} speakers for {seeds} seeds: each seed holds out another speaker, and the least is 3 speakers; "
            "use fewer seeds, or speech of more speakers"
        )
    order = np.random.default_rng(0).permutation(names)
    least = max(1, round(len(names) * HELD_OUT_PART))
    most = max(1, min(len(names) // seeds, len(names) // 2))
    sizes = range(min(least, most), most + 1)

    def measured(size: int) -> int:
        parts = [truth_N[np.isin(speaker_N, order[s * size : (s + 1) * size])] for s in range(seeds)]
        return len(measurable(parts, FREQUENT_EMOTIONS))

    size = max(sizes, key=lambda size: (measured(size), -size))
    if not measured(size):
        raise ValueError(
            f"{len(names)} speakers with {len(truth_N)} clips for {seeds} seeds: none of {', '.join(FREQUENT_EMOTIONS)} has "
            f"{MIN_POSITIVES} clips of it and {MIN_POSITIVES} of others among every seed's held-out speakers; "
            "use fewer seeds, or more speech"
        )
    rotated = [np.roll(order, -s * size) for s in range(seeds)]
    val = max(1, round((len(names) - size) * VAL_PART))
    return [SpeakerSplit(tuple(o[:size].tolist()), tuple(o[size : size + val].tolist())) for o in rotated]


def paired_emotions(truth_N: np.ndarray, rho: float, rng: np.random.Generator) -> np.ndarray:
    """The emotion of the face that goes with each clip, (N,) indices.

    With probability rho it is the clip's own; the other clips get one another's, in random order. So every emotion has
    exactly as many faces as voices at every rho, and at rho = 0 the face says nothing of the voice. With the same rng, the
    clips that keep their own emotion at a smaller rho keep it at a larger one.
    """
    if not 0 <= rho <= 1:
        raise ValueError(f"{rho = }: it is a probability, from 0 to 1")
    truth_N = np.asarray(truth_N)
    others = np.flatnonzero(rng.random(len(truth_N)) >= rho)
    paired_N = truth_N.copy()
    paired_N[others] = truth_N[rng.permutation(others)]
    return paired_N


@dataclass(frozen=True)
class TransferPredictions:
    """A student's answers on the held-out clips of one seed.

    probabilities_NE: softmax on the whole clip; truth_N: index of the true emotion; speaker_N: who speaks.
    """

    probabilities_NE: np.ndarray
    truth_N: np.ndarray
    speaker_N: np.ndarray


def measurable(truth_SN: Sequence[np.ndarray], emotions: Sequence[str] = EMOTIONS) -> list[str]:
    """Those of the emotions that have `MIN_POSITIVES` clips, and so many others, in every seed's part."""

    def is_measurable(emotion: str) -> bool:
        counts = [(np.sum(truth_N == EMOTIONS.index(emotion)), len(truth_N)) for truth_N in truth_SN]
        return all(MIN_POSITIVES <= n <= total - MIN_POSITIVES for n, total in counts)

    return [emotion for emotion in emotions if is_measurable(emotion)]


def transfer_quality(seeds: Sequence[TransferPredictions], resamples: int = RESAMPLES) -> dict:
    """Mean over seeds of the one-vs-rest AUC against the true emotion; JSON-ready.

    mean_auc: over the measurable ones of the five frequent emotions, with low, high, by_seed; mean_auc_all: over all
    measurable ones; auc: emotion -> the same for one emotion (value None where it is not measurable); emotions, n,
    speakers, resampled, interval_from ("seeds and speakers", or the resampled unit alone with one seed).
    The 95 % interval is, on each side, the wider of `seed_interval` and the bootstrap over speakers within seeds (clips,
    where a seed has one speaker or all have fewer than five).
    """
    truth_SN = [part.truth_N for part in seeds]
    emotions = measurable(truth_SN)
    frequent = [emotion for emotion in emotions if emotion in FREQUENT_EMOTIONS]
    if not frequent:
        raise ValueError(f"none of {', '.join(FREQUENT_EMOTIONS)} has enough clips in every seed's held-out part")
    speakers = [len(np.unique(part.speaker_N)) for part in seeds]
    by_speaker = min(speakers) > 1 and sum(speakers) >= MIN_SPEAKERS
    auc_SER = np.stack([_auc_and_resamples(part, emotions, by_speaker, resamples, s) for s, part in enumerate(seeds)])

    def mean_of(chosen: list[str]) -> dict:
        value_SR = auc_SER[:, [emotions.index(emotion) for emotion in chosen]].mean(1)
        return _with_interval(value_SR[:, 0], value_SR[:, 1:].mean(0))

    mean = mean_of(frequent)
    resampled = "speakers" if by_speaker else "clips"
    return {
        "mean_auc": mean.pop("value"),
        **mean,
        "mean_auc_all": mean_of(emotions)["value"],
        "auc": {
            emotion: (mean_of([emotion]) if emotion in emotions else {"value": None, "low": None, "high": None})
            | {"positives": int(sum(np.sum(truth_N == index) for truth_N in truth_SN))}
            for index, emotion in enumerate(EMOTIONS)
        },
        "emotions": frequent,
        "n": sum(map(len, truth_SN)),
        "speakers": sum(speakers),
        "resampled": resampled,
        "interval_from": f"seeds and {resampled}" if len(seeds) > 1 else resampled,
    }


def seed_interval(value_S: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of a few values by Student's t; of two values at least."""
    half = stats.t.ppf(INTERVAL_PERCENT[1] / 100, len(value_S) - 1) * np.std(value_S, ddof=1) / np.sqrt(len(value_S))
    return float(np.mean(value_S) - half), float(np.mean(value_S) + half)


def _with_interval(value_S: np.ndarray, mean_R: np.ndarray) -> dict:
    mean_R = mean_R[np.isfinite(mean_R)]  # a resample can lack an emotion
    low, high = np.percentile(mean_R, INTERVAL_PERCENT) if len(mean_R) else (np.mean(value_S), np.mean(value_S))
    if len(value_S) > 1:
        seeds_low, seeds_high = seed_interval(value_S)
        low, high = min(low, seeds_low), max(high, seeds_high)
    value = float(np.mean(value_S))
    return {"value": value, "low": max(0.0, float(low)), "high": min(1.0, float(high)), "by_seed": value_S.tolist()}


def _auc_and_resamples(
    part: TransferPredictions, emotions: list[str], by_speaker: bool, resamples: int, seed: int
) -> np.ndarray:
    """(E, 1 + R): the AUC of each emotion, then of each resample; all emotions share a resample's draw."""
    groups = part.speaker_N if by_speaker else np.arange(len(part.truth_N))
    names, group_N = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn_RG = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    counts_RG = np.concatenate([np.ones((1, len(names))), drawn_RG])
    columns = [EMOTIONS.index(emotion) for emotion in emotions]
    return np.stack([grouped_auc(part.probabilities_NE[:, c], part.truth_N == c, group_N, counts_RG) for c in columns])


def grouped_auc(score_N: np.ndarray, positive_N: np.ndarray, group_N: np.ndarray, counts_RG: np.ndarray) -> np.ndarray:
    """AUC (R,) when group g counts counts_RG[:, g] times; NaN where no positive or no negative counts.

    The wins of one group's positives over another's negatives (ties are half a win) are counted once for each pair of
    groups, so that a resample costs a small product of matrices.
    """
    groups = counts_RG.shape[1]
    counts_RG = counts_RG.astype(np.float64)
    won_GG = np.zeros((groups, groups))
    for group in range(groups):
        negative = np.sort(score_N[(group_N == group) & ~positive_N])
        below, upto = (np.searchsorted(negative, score_N[positive_N], side) for side in ("left", "right"))
        won_GG[:, group] = np.bincount(group_N[positive_N], (below + upto) / 2, groups)
    positives_R, negatives_R = (
        counts_RG @ np.bincount(group_N[kind_N], minlength=groups) for kind_N in (positive_N, ~positive_N)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((counts_RG @ won_GG) * counts_RG).sum(1) / (positives_R * negatives_R)
