"""The zero-shot figures against scikit-learn, and what a speaker's mean hides."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from modeling.emotions import EMOTIONS
from modeling.evaluation.zero_shot import speaker_centred, zero_shot_scores

PRESENT = (0, 1, 4)


def answers(seed: int = 0, clips: int = 180) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that lean to the truth, with a large offset of each speaker's own; three emotions, six speakers."""
    rng = np.random.default_rng(seed)
    truth_N, speakers_N = np.array(PRESENT)[np.arange(clips) % 3], np.arange(clips) // 3 % 6
    logits_NE = rng.normal(0, 1, (clips, 8)) + rng.normal(0, 3, (6, 8))[speakers_N]
    logits_NE[np.arange(clips), truth_N] += 1.5
    return logits_NE, truth_N, speakers_N


def test_each_auc_and_the_mean_recall_are_those_of_scikit_learn():
    logits_NE, truth_N, speakers_N = answers()
    found = zero_shot_scores(logits_NE, truth_N, speakers_N)
    expected = {EMOTIONS[k]: roc_auc_score(truth_N == k, logits_NE[:, k]) for k in PRESENT}
    assert {name: auc.value for name, auc in found.auc.items()} == pytest.approx(expected)
    assert found.mean_auc.value == pytest.approx(np.mean(list(expected.values())))
    answered_N = np.array(PRESENT)[logits_NE[:, PRESENT].argmax(1)]
    assert found.uar.value == pytest.approx(balanced_accuracy_score(truth_N, answered_N))
    assert found.confusion.sum() == len(truth_N) and found.confusion.shape == (3, 3)
    assert found.resampled == "speakers" and found.mean_auc.low <= found.mean_auc.value <= found.mean_auc.high


def test_taking_off_each_speakers_mean_uncovers_what_their_offsets_hide():
    logits_NE, truth_N, speakers_N = answers()
    hidden = zero_shot_scores(logits_NE, truth_N, speakers_N).mean_auc.value
    shown = zero_shot_scores(speaker_centred(logits_NE, speakers_N), truth_N, speakers_N).mean_auc.value
    assert shown > hidden + 0.1


def test_a_rare_emotion_has_no_auc_and_is_left_out_of_the_mean():
    logits_NE, truth_N, speakers_N = answers()
    truth_N[truth_N == 4] = 1
    truth_N[:3] = 4
    found = zero_shot_scores(logits_NE, truth_N, speakers_N)
    assert found.auc["anger"].value is None and found.auc["anger"].positives == 3
    assert found.mean_auc.value == pytest.approx(np.mean([found.auc[name].value for name in ("neutral", "happiness")]))


def test_few_speakers_are_not_resampled_and_nan_is_refused():
    logits_NE, truth_N, _ = answers()
    assert zero_shot_scores(logits_NE, truth_N, np.zeros(len(truth_N))).resampled == "clips"
    with pytest.raises(ValueError, match="1 of 180 rows of scores are not finite"):
        zero_shot_scores(np.where(np.arange(180)[:, None] == 7, np.nan, logits_NE), truth_N, np.zeros(180))
