"""Linear probes against scikit-learn and NumPy: folds, the two regressions, UAR and WAR with their intervals."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from modeling.evaluation.linear_probe import (
    INVERSE_PENALTIES,
    accuracy_over_folds,
    paper_folds,
    recalls,
    regularised_predictions,
    speaker_folds,
    unregularised_predictions,
)


def corpus(speakers: int, each: int = 30, classes: int = 4, signal: float = 1.5, voice: float = 3.0, seed: int = 0):
    """Features (N, 12) whose first columns carry the class, the others the speaker; labels; speakers."""
    rng = np.random.default_rng(seed)
    speakers_N = np.repeat([f"s{k}" for k in range(speakers)], each)
    labels_N = rng.integers(classes, size=len(speakers_N))
    voice_N8 = np.repeat(rng.standard_normal((speakers, 8)) * voice, each, axis=0)
    class_NK = signal * np.eye(classes)[labels_N]
    return np.hstack([class_NK, voice_N8]) + rng.standard_normal((len(labels_N), classes + 8)), labels_N, speakers_N


@pytest.mark.parametrize("clips", [10, 12, 15, 720, 1293])
def test_the_papers_folds_are_a_permutation_cut_at_rounded_tenths(clips):
    order = np.random.default_rng(3).permutation(clips)
    edges = [int(clips * k / 10 + 0.5) for k in range(11)]  # MATLAB's round: halves up
    fold_N = paper_folds(clips, seed=3)
    for k in range(10):
        assert set(np.flatnonzero(fold_N == k)) == set(order[edges[k] : edges[k + 1]])
    assert not np.array_equal(fold_N, paper_folds(clips, seed=4))
    with pytest.raises(ValueError, match="9 clips"):
        paper_folds(9)


@pytest.mark.parametrize(("speakers", "folds"), [(2, 2), (4, 4), (10, 10), (11, 5), (24, 5)])
def test_no_speaker_is_in_two_folds(speakers, folds):
    _, _, speakers_N = corpus(speakers, each=7)
    shuffled = np.random.default_rng(1).permutation(len(speakers_N))
    fold_N = speaker_folds(speakers_N[shuffled], seed=2)
    assert set(fold_N) == set(range(folds))
    assert all(len(set(fold_N[speakers_N[shuffled] == speaker])) == 1 for speaker in set(speakers_N))
    if folds < speakers:
        others = speaker_folds(speakers_N[shuffled], seed=5)
        together = [{frozenset(speakers_N[shuffled][f == k]) for k in range(folds)} for f in (fold_N, others)]
        assert together[0] != together[1]
        assert max(map(len, together[0])) - min(map(len, together[0])) <= 1


def test_one_speaker_cannot_be_held_out():
    with pytest.raises(ValueError, match="one speaker"):
        speaker_folds(np.array(["a"] * 20))


def test_the_regression_without_penalty_is_scikit_learns_on_raw_features():
    features_NF, labels_N, _ = corpus(5)
    fold_N = paper_folds(len(labels_N))
    expected = np.empty_like(labels_N)
    for k in range(10):
        test = fold_N == k
        model = LogisticRegression(C=np.inf, solver="newton-cg", max_iter=2000, tol=1e-8)
        expected[test] = model.fit(features_NF[~test], labels_N[~test]).predict(features_NF[test])
    predicted = unregularised_predictions(features_NF * 50 + 7, labels_N, fold_N)
    assert (predicted == expected).mean() > 0.99


def test_penalties_are_chosen_in_the_training_folds_and_class_features_are_found():
    features_NF, labels_N, speakers_N = corpus(4, signal=4.0, voice=1.0)
    fold_N = speaker_folds(speakers_N)
    predicted, penalties = regularised_predictions(features_NF, labels_N, speakers_N, fold_N)
    assert balanced_accuracy_score(labels_N, predicted) > 0.9
    assert len(penalties) == 4 and set(penalties) <= set(INVERSE_PENALTIES)
    # Neither labels nor features of the test fold can reach its own predictions.
    test = fold_N == 0
    other_labels, other_features = labels_N.copy(), features_NF.copy()
    other_labels[test] = 0
    again, same_penalties = regularised_predictions(features_NF, other_labels, speakers_N, fold_N)
    assert (again[test] == predicted[test]).all() and same_penalties[0] == penalties[0]
    row = np.flatnonzero(test)[0]
    other_features[test & (np.arange(len(test)) != row)] = 1e6
    assert regularised_predictions(other_features, labels_N, speakers_N, fold_N)[0][row] == predicted[row]


def test_shared_speakers_flatter_and_held_out_speakers_do_not():
    rng = np.random.default_rng(0)
    speakers_N = np.repeat(np.arange(12), 20)
    labels_N = speakers_N % 3  # each speaker has one emotion, and the features know the speaker alone
    voices_NF = rng.standard_normal((12, 16))[speakers_N] + 0.1 * rng.standard_normal((240, 16))
    shared = unregularised_predictions(voices_NF, labels_N, paper_folds(240))
    held_out, _ = regularised_predictions(voices_NF, labels_N, speakers_N, speaker_folds(speakers_N))
    assert accuracy_score(labels_N, shared) > 0.95
    assert accuracy_score(labels_N, held_out) < 0.6


def test_random_features_are_at_chance():
    _, labels_N, speakers_N = corpus(24, each=12)
    random_NF = np.random.default_rng(9).standard_normal((len(labels_N), 32))
    predicted, _ = regularised_predictions(random_NF, labels_N, speakers_N, speaker_folds(speakers_N))
    found = recalls(predicted, labels_N, speakers_N)
    assert found.uar.value == pytest.approx(0.25, abs=3 * np.sqrt(0.25 * 0.75 / len(labels_N)))


def test_two_speakers_and_a_fold_with_one_class_work():
    features_NF, labels_N, speakers_N = corpus(2, signal=6.0, voice=0.3)
    predicted, penalties = regularised_predictions(features_NF, labels_N, speakers_N, speaker_folds(speakers_N))
    assert accuracy_score(labels_N, predicted) > 0.5 and penalties == [0.1, 0.1]
    labels_N = np.where(speakers_N == "s0", 0, 1)
    predicted, _ = regularised_predictions(features_NF, labels_N, speakers_N, speaker_folds(speakers_N))
    assert (predicted != labels_N).all()


def test_uar_and_war_are_scikit_learns_and_speakers_are_resampled():
    rng = np.random.default_rng(0)
    labels_N = rng.choice(4, p=[0.6, 0.2, 0.15, 0.05], size=300)
    speakers_N = rng.integers(8, size=300)
    right_of_speaker = np.linspace(0.1, 0.95, 8)[speakers_N]  # speakers differ: clips of one hang together
    predicted_N = np.where(rng.random(300) < right_of_speaker, labels_N, (labels_N + 1) % 4)
    found = recalls(predicted_N, labels_N, speakers_N)
    assert found.uar.value == pytest.approx(balanced_accuracy_score(labels_N, predicted_N))
    assert found.war.value == pytest.approx(accuracy_score(labels_N, predicted_N))
    assert found.resampled == "speakers"

    drawn = [rng.choice(8, size=8) for _ in range(400)]
    rows = [np.concatenate([np.flatnonzero(speakers_N == speaker) for speaker in speakers]) for speakers in drawn]
    for name, score in (("uar", balanced_accuracy_score), ("war", accuracy_score)):
        low, high = np.percentile([score(labels_N[r], predicted_N[r]) for r in rows], [2.5, 97.5])
        assert (getattr(found, name).low, getattr(found, name).high) == (
            pytest.approx(low, abs=0.03),
            pytest.approx(high, abs=0.03),
        )
    by_clip = recalls(predicted_N, labels_N, np.arange(300) % 4)
    assert by_clip.resampled == "utterances"
    assert by_clip.war.high - by_clip.war.low < 0.7 * (found.war.high - found.war.low)


def test_a_class_of_one_clip_does_not_lift_the_interval():
    """A third of the resamples lack the clip; a UAR over the two other classes would be 0.5 of one answer for all."""
    labels_N = np.repeat([0, 1, 2], [9, 9, 1])
    for speakers_N in (np.arange(19) % 3, np.arange(19) % 6):
        found = recalls(np.zeros(19, int), labels_N, speakers_N).uar
        assert [found.value, found.low, found.high] == pytest.approx([1 / 3] * 3)


def test_accuracy_over_folds_is_mean_and_sample_deviation():
    labels_N, fold_N = np.zeros(6, int), np.array([0, 0, 0, 1, 1, 1])
    assert accuracy_over_folds(np.array([0, 0, 1, 0, 1, 1]), labels_N, fold_N) == (0.5, pytest.approx(np.sqrt(2) / 6))


def test_features_that_are_not_finite_are_not_scored():
    features_NF, labels_N, _ = corpus(5)
    features_NF[3, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 150 rows"):
        unregularised_predictions(features_NF, labels_N, paper_folds(150))
