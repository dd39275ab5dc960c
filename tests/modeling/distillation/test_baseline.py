"""The resting face of a speaker, taken off the teacher's logits."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from modeling.distillation.baseline import PRIOR_UTTERANCES, SpeakerBaseline
from modeling.emotions import EMOTIONS, MASKED_BELOW


def people(counts: list[int], rest: float, seed: int = 0) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Logits, speakers and true emotions of people whose faces at rest differ by `rest`, and who express every emotion."""
    rng = np.random.default_rng(seed)
    speakers = [f"speaker {n}" for n, count in enumerate(counts) for _ in range(count)]
    emotions_N = np.concatenate([np.arange(count) % 8 for count in counts])
    resting = {speaker: rng.normal(0, rest, 8) for speaker in sorted(set(speakers))}
    logits_NE = rng.normal(0, 0.5, (len(speakers), 8)) + np.array([resting[speaker] for speaker in speakers])
    logits_NE[np.arange(len(speakers)), emotions_N] += 1
    return logits_NE, speakers, emotions_N


def mean_auc(logits_NE: np.ndarray, emotions_N: np.ndarray) -> float:
    return float(np.mean([roc_auc_score(emotions_N == e, logits_NE[:, e]) for e in range(8)]))


def test_without_a_prior_the_whole_mean_of_every_speaker_is_taken_off():
    logits_NE, speakers, _ = people([3, 40], rest=2)
    moved_NE = SpeakerBaseline.of(logits_NE, speakers, prior_utterances=0).removed(logits_NE, speakers)
    assert np.allclose(moved_NE[:3].mean(0), 0, atol=1e-5) and np.allclose(moved_NE[3:].mean(0), 0, atol=1e-5)


def test_one_utterance_counts_a_fifth_beside_the_mean_of_all_speakers_who_count_once_each():
    logits_NE = np.array([[0.0] * 8] * 6 + [[10.0] * 8])
    baseline = SpeakerBaseline.of(logits_NE, ["a"] * 6 + ["b"])
    assert PRIOR_UTTERANCES == 4 and np.allclose(baseline.offset("b"), 0.2 * 10 + 0.8 * 5)
    assert np.allclose(baseline.offset("a"), 0.4 * 5)


def test_emotions_of_people_with_unlike_faces_are_told_apart_better():
    logits_NE, speakers, emotions_N = people([24] * 12, rest=2)
    without_NE = SpeakerBaseline.of(logits_NE, speakers).removed(logits_NE, speakers)
    assert mean_auc(without_NE, emotions_N) > mean_auc(logits_NE, emotions_N) + 0.1


def test_one_utterance_of_each_speaker_costs_next_to_nothing():
    """Taking off the whole of it would leave nothing to tell apart."""
    logits_NE, speakers, emotions_N = people([1] * 200, rest=0)
    logits_NE += 1e-3 * np.random.default_rng(1).normal(size=logits_NE.shape)
    emotions_N = np.arange(200) % 8
    logits_NE[np.arange(200), emotions_N] += 1
    without_NE = SpeakerBaseline.of(logits_NE, speakers).removed(logits_NE, speakers)
    assert mean_auc(without_NE, emotions_N) > mean_auc(logits_NE, emotions_N) - 0.01


def test_it_is_the_same_taken_off_frames_or_off_their_maximum():
    frames_NE = np.random.default_rng(0).normal(size=(17, 8)).astype(np.float32)
    baseline = SpeakerBaseline.of(np.stack([frames_NE.max(0), np.zeros(8)]), ["a", "b"])
    of_frames = baseline.removed(frames_NE, ["a"] * 17).max(0)
    assert np.allclose(of_frames, baseline.removed(frames_NE.max(0)[None], ["a"])[0], atol=1e-6)


def test_emotions_that_the_teacher_does_not_know_stay_unknown():
    logits_NE, speakers, _ = people([2, 5, 9], rest=2)
    logits_NE[:, EMOTIONS.index("contempt")] = -100
    without_NE = SpeakerBaseline.of(logits_NE, speakers).removed(logits_NE, speakers)
    assert (without_NE[:, EMOTIONS.index("contempt")] <= MASKED_BELOW).all()


def test_a_speaker_of_whom_nothing_is_known_has_the_mean_of_all_speakers():
    logits_NE, speakers, _ = people([5, 5], rest=2)
    baseline = SpeakerBaseline.of(logits_NE, speakers)
    everyone = (logits_NE[:5].mean(0) + logits_NE[5:].mean(0)) / 2
    assert np.allclose(baseline.removed(logits_NE[:1], ["someone else"]), logits_NE[:1] - everyone, atol=1e-6)


def test_values_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="-1"):
        SpeakerBaseline.of(np.zeros((1, 8)), ["a"], prior_utterances=-1)
    with pytest.raises(ValueError, match="NaN"):
        SpeakerBaseline.of(np.full((1, 8), np.nan), ["a"])
