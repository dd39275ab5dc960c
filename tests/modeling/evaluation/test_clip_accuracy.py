"""Figures of a teacher on labelled clips, confirmed by scikit-learn."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix, roc_auc_score
from sklearn.preprocessing import StandardScaler

from modeling.emotions import EMOTIONS
from modeling.evaluation.clip_accuracy import LabelledFrames, evaluate_clips

FRAMES, SPEAKERS, CLIPS = 5, 6, 72


def acted(signal: float = 1.0, features: bool = True) -> LabelledFrames:
    """Six people act four emotions; frames of a clip differ, clips have 5 or 10 frames."""
    rng = np.random.default_rng(0)
    truth_C = np.arange(CLIPS) % 4
    clip_N = np.repeat(np.arange(CLIPS), np.where(np.arange(CLIPS) % 3, FRAMES, 2 * FRAMES))
    logits_NE = rng.normal(size=(len(clip_N), 8))
    logits_NE[np.arange(len(clip_N)), truth_C[clip_N]] += signal
    shown = rng.normal(size=(len(clip_N), 20))
    shown[:, 0] += 2 * truth_C[clip_N]
    speakers_C = np.array([f"speaker {c // 12}" for c in range(CLIPS)])
    return LabelledFrames(logits_NE, shown if features else None, clip_N, truth_C, speakers_C)


def pooled(frames: LabelledFrames, how) -> np.ndarray:
    return np.stack([how(frames.logits_NE[frames.clip_N == clip], axis=0) for clip in range(CLIPS)])


def test_accuracy_and_confusion_are_those_of_scikit_learn():
    frames = acted()
    found = evaluate_clips(frames)
    truth_N, answer_C = frames.truth_C[frames.clip_N], pooled(frames, np.max).argmax(1)
    assert found.frame_accuracy.value == pytest.approx(accuracy_score(truth_N, frames.logits_NE.argmax(1)))
    assert found.clip_accuracy.value == pytest.approx(accuracy_score(frames.truth_C, answer_C))
    assert found.confusion == confusion_matrix(frames.truth_C, answer_C, labels=range(8)).tolist()
    assert found.frame_accuracy.low < found.frame_accuracy.value < found.frame_accuracy.high
    assert (found.clips, found.speakers, found.resampled) == (CLIPS, SPEAKERS, "speakers")


@pytest.mark.parametrize(("name", "how"), [("max", np.max), ("mean", np.mean)])
def test_the_auc_of_each_emotion_is_that_of_the_clips_pooled_frames(name, how):
    frames = acted()
    found = evaluate_clips(frames).auc[name]
    scores_CE = softmax(pooled(frames, how), axis=1)
    expected = {EMOTIONS[e]: roc_auc_score(frames.truth_C == e, scores_CE[:, e]) for e in range(4)}
    assert {emotion: auc.value for emotion, auc in found.emotions.items()} == pytest.approx(expected)
    assert found.mean.value == pytest.approx(np.mean(list(expected.values())))
    assert found.mean.low < found.mean.value < found.mean.high


def test_the_bound_is_what_features_tell_of_people_that_were_not_learnt_from():
    frames = acted(signal=0)
    found = evaluate_clips(frames)
    features_CF = np.stack([frames.features_NF[frames.clip_N == clip].mean(0) for clip in range(CLIPS)])
    scores_CE = np.zeros((CLIPS, 4))
    for speaker in np.unique(frames.speakers_C):
        test_C = frames.speakers_C == speaker
        scaler = StandardScaler().fit(features_CF[~test_C])
        fitted = LogisticRegression(C=0.01, max_iter=500).fit(
            scaler.transform(features_CF[~test_C]), frames.truth_C[~test_C]
        )
        scores_CE[test_C] = fitted.predict_proba(scaler.transform(features_CF[test_C]))
    expected = [roc_auc_score(frames.truth_C == e, scores_CE[:, e]) for e in range(4)]
    assert [auc.value for auc in found.bound.emotions.values()] == pytest.approx(expected, abs=1e-3)
    assert found.bound.mean.value > 0.75 > 0.65 > found.auc["max"].mean.value


def test_without_features_or_without_other_speakers_there_is_no_bound():
    assert evaluate_clips(acted(features=False)).bound is None
    frames = acted()
    alone = LabelledFrames(
        frames.logits_NE, frames.features_NF, frames.clip_N, frames.truth_C, np.full(CLIPS, "one speaker")
    )
    assert evaluate_clips(alone).bound is None


def test_at_the_temperature_found_the_probabilities_are_nearer_to_the_truth():
    frames = acted(signal=2)
    sharp = LabelledFrames(6 * frames.logits_NE, None, frames.clip_N, frames.truth_C, frames.speakers_C)
    found = evaluate_clips(sharp)
    assert found.temperature > 2 and found.ece_at_temperature < found.ece / 2


def test_logits_that_are_no_numbers_are_refused():
    frames = acted()
    frames.logits_NE[3, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        evaluate_clips(frames)
