"""What a face teacher is worth on talking faces whose emotion is known of each clip.

Shape letters: N frames of all clips, C clips, E = 8 emotions, F features, R bootstrap resamples.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import softmax

from modeling.emotions import EMOTIONS
from modeling.evaluation.auc import EmotionAuc, auc_of, is_estimable, resampled_auc
from modeling.evaluation.bootstrap import Estimate, Resamples, interval
from modeling.evaluation.calibration import best_temperature, calibration
from modeling.evaluation.divergence import confusion
from modeling.evaluation.linear_probe import held_out_probabilities, speaker_folds

Pooling = Literal["max", "mean"]
POOLINGS: tuple[Pooling, ...] = ("max", "mean")


@dataclass(frozen=True)
class LabelledFrames:
    """What a teacher says of the frames of some clips.

    logits_NE, features_NF (None: the teacher shows none); clip_N: the clip of each frame, rising; truth_C: index of the
    emotion; speakers_C: names. Each clip has a frame.
    """

    logits_NE: np.ndarray
    features_NF: np.ndarray | None
    clip_N: np.ndarray
    truth_C: np.ndarray
    speakers_C: np.ndarray

    def __post_init__(self):
        assert len(self.logits_NE) == len(self.clip_N) and len(self.truth_C) == len(self.speakers_C)
        assert np.array_equal(np.unique(self.clip_N), np.arange(len(self.truth_C)))

    def pooled(self, frames_NK: np.ndarray, how: Pooling) -> np.ndarray:
        """Maximum or mean of each clip's frames, (C, K)."""
        starts = np.flatnonzero(np.diff(self.clip_N, prepend=-1))
        if how == "max":
            return np.maximum.reduceat(frames_NK, starts, axis=0)
        return np.add.reduceat(frames_NK, starts, axis=0) / np.bincount(self.clip_N)[:, None]


@dataclass(frozen=True)
class AucOfClips:
    """One emotion against the rest, for those that can be estimated, and the mean over them."""

    mean: Estimate
    emotions: dict[str, EmotionAuc]


@dataclass(frozen=True, kw_only=True)
class ClipEvaluation:
    """All figures of one teacher on labelled clips; intervals are over speakers, or over clips where there are few.

    frame_accuracy, clip_accuracy: how often the highest logit, of a clip that of the maxima, is the clip's emotion.
    auc: from the maximum and the mean of a clip's logits. bound: from a linear classifier on the mean of the teacher's own
    features, fitted on the other speakers: what the faces show that the answers do not tell; None where the teacher shows no
    features or the other speakers have no two emotions; bound_without_baseline: the same where each speaker's mean is taken off
    his features. confusion: rows truth, columns the answer to the clip. ece: of the
    frames' probabilities; temperature: what makes their cross-entropy least, found on these very frames.
    """

    clips: int
    frames: int
    speakers: int
    resampled: str
    frame_accuracy: Estimate
    clip_accuracy: Estimate
    auc: dict[Pooling, AucOfClips]
    bound: AucOfClips | None
    bound_without_baseline: AucOfClips | None
    confusion: list[list[int]]
    ece: float | None
    temperature: float
    ece_at_temperature: float | None


def evaluate_clips(frames: LabelledFrames, *, seed: int = 0) -> ClipEvaluation:
    """Raises ValueError without a clip or for logits that are not finite."""
    if not len(frames.truth_C):
        raise ValueError("no clip shows a face; there is nothing to evaluate on")
    if not np.isfinite(frames.logits_NE).all():
        raise ValueError("logits of some frames are not finite; look at the network's weights")
    drawn = Resamples.draw(frames.speakers_C, seed=seed)
    answer_C = frames.pooled(frames.logits_NE, "max").argmax(1)
    truth_N = frames.truth_C[frames.clip_N]
    temperature = best_temperature(frames.logits_NE, np.eye(len(EMOTIONS))[truth_N])
    return ClipEvaluation(
        clips=len(frames.truth_C),
        frames=len(frames.logits_NE),
        speakers=len(np.unique(frames.speakers_C)),
        resampled=drawn.resampled,
        frame_accuracy=_frame_accuracy(frames, truth_N, drawn),
        clip_accuracy=_share(answer_C == frames.truth_C, drawn),
        auc=pooled_auc(frames, drawn),
        bound=_bound(frames, drawn, seed),
        bound_without_baseline=_bound(frames, drawn, seed, centred=True),
        confusion=confusion(answer_C, frames.truth_C).tolist(),
        ece=calibration(frames.logits_NE, truth_N)[0],
        temperature=temperature,
        ece_at_temperature=calibration(frames.logits_NE / temperature, truth_N)[0],
    )


def pooled_auc(frames: LabelledFrames, drawn: Resamples) -> dict[Pooling, AucOfClips]:
    """From the maximum and from the mean of the frames, as probabilities."""
    return {how: auc_of_clips(softmax(frames.pooled(frames.logits_NE, how), 1), frames, drawn) for how in POOLINGS}


def auc_of_clips(scores_CE: np.ndarray, frames: LabelledFrames, drawn: Resamples) -> AucOfClips:
    emotions: dict[str, EmotionAuc] = {}
    every: list[np.ndarray] = []
    for index, emotion in enumerate(EMOTIONS):
        score_C, positive_C = scores_CE[:, index], frames.truth_C == index
        if is_estimable(positive_C):
            values_R = resampled_auc(score_C, positive_C, drawn)
            every.append(values_R)
            emotions[emotion] = EmotionAuc(
                auc_of(score_C, positive_C), *interval(values_R), positives=int(positive_C.sum())
            )
    if not every:
        return AucOfClips(Estimate(None, None, None), {})
    mean = float(np.mean([auc_of(scores_CE[:, k], frames.truth_C == k) for k in map(EMOTIONS.index, emotions)]))
    return AucOfClips(Estimate(mean, *interval(np.mean(every, axis=0))), emotions)


def _bound(frames: LabelledFrames, drawn: Resamples, seed: int, *, centred: bool = False) -> AucOfClips | None:
    """centred: the mean of each speaker's clips is taken off his features."""
    if frames.features_NF is None or len(np.unique(frames.speakers_C)) < 2:
        return None
    fold_C = speaker_folds(frames.speakers_C, seed)
    if any(len(np.unique(frames.truth_C[fold_C != fold])) < 2 for fold in np.unique(fold_C)):
        return None
    features_CF = frames.pooled(frames.features_NF, "mean")
    if centred:
        for speaker in np.unique(frames.speakers_C):
            features_CF[frames.speakers_C == speaker] -= features_CF[frames.speakers_C == speaker].mean(axis=0)
    probabilities_CE = held_out_probabilities(features_CF, frames.truth_C, fold_C, classes=len(EMOTIONS))
    return auc_of_clips(probabilities_CE, frames, drawn)


def _share(right_C: np.ndarray, drawn: Resamples) -> Estimate:
    return Estimate(float(right_C.mean()), *interval(drawn.means(right_C)))


def _frame_accuracy(frames: LabelledFrames, truth_N: np.ndarray, drawn: Resamples) -> Estimate:
    """Share of all frames; a resample draws speakers with all frames of their clips."""
    right_N = frames.logits_NE.argmax(1) == truth_N
    right_C = np.bincount(frames.clip_N, weights=right_N)
    right_R, all_R = drawn.sums(np.stack([right_C, np.bincount(frames.clip_N)], 1)).T
    return Estimate(float(right_N.mean()), *interval(right_R / all_R))
