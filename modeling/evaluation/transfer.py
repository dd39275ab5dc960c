"""The controlled transfer benchmark: who is held out, which face goes with which voice, and how certain the result is.

The paper has no such experiment. Shape letters: N clips, S seeds, E = 8 emotions, R bootstrap resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from modeling.emotions import EMOTIONS, FREQUENT_EMOTIONS
from modeling.evaluation.auc import MIN_POSITIVES, auc_of, is_estimable, resampled_auc
from modeling.evaluation.bootstrap import INTERVAL_PERCENT, MIN_SPEAKERS, RESAMPLES, Estimate, Resamples, interval

HELD_OUT_SHARE = 1 / 6
"""Share of the speakers that a seed holds out, if that is enough for an AUC."""
VAL_SHARE = 1 / 10
"""Share of the remaining speakers; their clips choose the checkpoint."""
CHANCE = 0.5


@dataclass(frozen=True)
class SpeakerSplit:
    """The role of each speaker under one seed; all speakers not named here are for training."""

    held_out: tuple[str, ...]
    val: tuple[str, ...]

    def of(self, speaker: str) -> str:
        """The speaker's split: `unheard`, `val` or `train`, as in a distillation set."""
        return "unheard" if speaker in self.held_out else "val" if speaker in self.val else "train"


def split_speakers(speaker_N: Sequence[str], truth_N: np.ndarray, seeds: int) -> list[SpeakerSplit]:
    """One split per seed; no speaker is held out twice.

    The speakers are put in one random order, which depends only on their names. Seed s holds out the h speakers from
    place s * h on. h starts at a sixth of the speakers (at least 1) and grows until every seed's held-out part has five
    clips with and five without each of the five frequent emotions that the speech has. A seed holds out at most half of the
    speakers, and all seeds together at most all of them. A tenth of the others, at least one, are `val`.
    truth_N: index of each clip's true emotion. Raises ValueError if there is no such split.
    """
    speakers_N, truth_N = np.asarray(speaker_N), np.asarray(truth_N)
    names = np.unique(speakers_N)
    if seeds < 1 or len(names) < max(3, seeds):
        raise ValueError(
            f"{len(names)} speakers for {seeds} seeds: each seed holds out another speaker, and the least is 3 speakers; "
            "use fewer seeds, or speech of more speakers"
        )
    order = np.random.default_rng(0).permutation(names)
    least = max(1, round(len(names) * HELD_OUT_SHARE))
    most = max(1, min(len(names) // seeds, len(names) // 2))
    sizes = range(min(least, most), most + 1)

    def measured(size: int) -> int:
        parts = [truth_N[np.isin(speakers_N, order[s * size : (s + 1) * size])] for s in range(seeds)]
        return len(measurable(parts, FREQUENT_EMOTIONS))

    size = max(sizes, key=lambda size: (measured(size), -size))
    if not measured(size):
        raise ValueError(
            f"{len(names)} speakers with {len(truth_N)} clips for {seeds} seeds: none of {', '.join(FREQUENT_EMOTIONS)} has "
            f"{MIN_POSITIVES} clips of it and {MIN_POSITIVES} of others among every seed's held-out speakers; "
            "use fewer seeds, or more speech"
        )
    rotated = [np.roll(order, -s * size) for s in range(seeds)]
    val = max(1, round((len(names) - size) * VAL_SHARE))
    return [SpeakerSplit(tuple(o[:size].tolist()), tuple(o[size : size + val].tolist())) for o in rotated]


def paired_emotions(truth_N: np.ndarray, rho: float, rng: np.random.Generator) -> np.ndarray:
    """The emotion of each clip's face, (N,) indices.

    With probability rho it is the clip's own; the remaining clips exchange theirs in random order. So at every rho each
    emotion has as many faces as voices, and at rho = 0 the face tells nothing about the voice. With the same rng, clips
    that keep their own emotion at a smaller rho also keep it at a larger one.
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

    probabilities_NE: softmax over the whole clip; truth_N: index of the true emotion; speaker_N: who speaks.
    """

    probabilities_NE: np.ndarray
    truth_N: np.ndarray
    speaker_N: np.ndarray


def measurable(truth_SN: Sequence[np.ndarray], emotions: Sequence[str] = EMOTIONS) -> list[str]:
    """The emotions that have, in every seed's part, at least `MIN_POSITIVES` clips and as many of other emotions."""
    return [name for name in emotions if all(is_estimable(truth_N == EMOTIONS.index(name)) for truth_N in truth_SN)]


@dataclass(frozen=True)
class EmotionQuality(Estimate):
    """Mean AUC of one emotion over the seeds. by_seed: each seed's, empty if it is not measurable. positives: its clips
    over all seeds."""

    by_seed: tuple[float, ...]
    positives: int


@dataclass(frozen=True)
class TransferQuality:
    """Mean over seeds of the one-vs-rest AUC against the true emotion.

    mean_auc: over the measurable ones of the five frequent emotions (`emotions`), with its interval and by_seed;
    mean_auc_all: over all measurable ones; auc: by emotion; n, speakers: clips and speakers over all seeds;
    resampled: "speakers" or "clips"; interval_from: "seeds and speakers", or the resampled unit alone with one seed.
    """

    mean_auc: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    mean_auc_all: float
    auc: dict[str, EmotionQuality]
    emotions: tuple[str, ...]
    n: int
    speakers: int
    resampled: str
    interval_from: str


def transfer_quality(seeds: Sequence[TransferPredictions], resamples: int = RESAMPLES) -> TransferQuality:
    """How well students, one per seed, tell the emotions of unheard voices apart.

    Each end of the 95 % interval is the wider one of `seed_interval` and the bootstrap over speakers within seeds (over
    clips, if a seed has one speaker or all seeds together fewer than five).
    """
    truth_SN = [part.truth_N for part in seeds]
    emotions = measurable(truth_SN)
    frequent = tuple(emotion for emotion in emotions if emotion in FREQUENT_EMOTIONS)
    if not frequent:
        raise ValueError(f"none of {', '.join(FREQUENT_EMOTIONS)} has enough clips in every seed's held-out part")
    speakers = [len(np.unique(part.speaker_N)) for part in seeds]
    by_speaker = min(speakers) > 1 and sum(speakers) >= MIN_SPEAKERS
    drawn_S = [_drawn(part, by_speaker, resamples, seed) for seed, part in enumerate(seeds)]
    measured = {name: [_auc_and_resamples(*of, name) for of in zip(seeds, drawn_S, strict=True)] for name in emotions}

    def mean_of(chosen: Sequence[str]) -> tuple[float, float, float, tuple[float, ...]]:
        value_ES = np.array([[value for value, _ in measured[name]] for name in chosen])
        value_ESR = np.array([[value_R for _, value_R in measured[name]] for name in chosen])
        return _with_interval(value_ES.mean(0), value_ESR.mean((0, 1)))

    mean, low, high, by_seed = mean_of(frequent)
    positives_E = [int(sum(np.sum(truth_N == index) for truth_N in truth_SN)) for index in range(len(EMOTIONS))]
    unit = "speakers" if by_speaker else "clips"
    return TransferQuality(
        mean_auc=mean,
        low=low,
        high=high,
        by_seed=by_seed,
        mean_auc_all=mean_of(emotions)[0],
        auc={
            name: EmotionQuality(*(mean_of([name]) if name in emotions else (None, None, None, ())), positives)
            for name, positives in zip(EMOTIONS, positives_E, strict=True)
        },
        emotions=frequent,
        n=sum(map(len, truth_SN)),
        speakers=sum(speakers),
        resampled=unit,
        interval_from=f"seeds and {unit}" if len(seeds) > 1 else unit,
    )


def seed_interval(value_S: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of at least two values by Student's t."""
    half = stats.t.ppf(INTERVAL_PERCENT[1] / 100, len(value_S) - 1) * np.std(value_S, ddof=1) / np.sqrt(len(value_S))
    return float(np.mean(value_S) - half), float(np.mean(value_S) + half)


def _with_interval(value_S: np.ndarray, mean_R: np.ndarray) -> tuple[float, float, float, tuple[float, ...]]:
    """Returns value, low, high, by_seed."""
    value = float(np.mean(value_S))
    low, high = interval(mean_R)  # over the resamples that lack no emotion
    low, high = value if low is None else low, value if high is None else high
    if len(value_S) > 1:
        seeds_low, seeds_high = seed_interval(value_S)
        low, high = min(low, seeds_low), max(high, seeds_high)
    return value, max(0.0, low), min(1.0, high), tuple(value_S.tolist())


def _drawn(part: TransferPredictions, by_speaker: bool, resamples: int, seed: int) -> Resamples:
    """A seed's resamples, shared by all its emotions. Whether speakers or clips are resampled is decided over all seeds."""
    return Resamples.draw(part.speaker_N if by_speaker else np.arange(len(part.truth_N)), resamples, seed, min_groups=1)


def _auc_and_resamples(part: TransferPredictions, drawn: Resamples, emotion: str) -> tuple[float, np.ndarray]:
    """The AUC of an emotion, and its AUC in each resample, (R,)."""
    column = EMOTIONS.index(emotion)
    pair = part.probabilities_NE[:, column], part.truth_N == column
    return auc_of(*pair), resampled_auc(*pair, drawn)
