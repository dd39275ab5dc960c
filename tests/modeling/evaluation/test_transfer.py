"""Pairing, splits and intervals of the transfer benchmark against what scipy, scikit-learn and counting say."""

from collections import Counter

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from modeling.emotions import EMOTIONS
from modeling.evaluation.transfer import (
    TransferPredictions,
    measurable,
    paired_emotions,
    seed_interval,
    split_speakers,
    transfer_quality,
)


def acted(speakers: int, clips_each: int) -> tuple[np.ndarray, np.ndarray]:
    """Speakers with the same number of clips of each of the five frequent emotions."""
    names = np.repeat([f"s{k:02}" for k in range(speakers)], 5 * clips_each)
    return names, np.tile(np.repeat(np.arange(5), clips_each), speakers)


@pytest.mark.parametrize("rho", [0, 0.3, 0.5, 0.9, 1])
def test_every_emotion_has_as_many_faces_as_voices_at_every_rho(rho):
    truth_N = np.random.default_rng(1).choice(8, 2000, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.04, 0.01])
    paired_N = paired_emotions(truth_N, rho, np.random.default_rng(2))
    assert Counter(paired_N.tolist()) == Counter(truth_N.tolist())
    by_luck = np.sum((np.bincount(truth_N) / len(truth_N)) ** 2)
    expected = rho + (1 - rho) * by_luck
    assert np.mean(paired_N == truth_N) == pytest.approx(expected, abs=4 * np.sqrt(0.25 / len(truth_N)))


def test_all_or_none_of_the_pairs_fit_at_the_ends():
    truth_N = np.repeat(np.arange(8), 100)
    assert (paired_emotions(truth_N, 1, np.random.default_rng(0)) == truth_N).all()
    table_EE = np.zeros((8, 8))
    np.add.at(table_EE, (truth_N, paired_emotions(truth_N, 0, np.random.default_rng(0))), 1)
    assert stats.chi2_contingency(table_EE).pvalue > 0.01  # independent of the voice
    assert np.trace(table_EE) > 0  # random, not "anything but the truth"


def test_pairs_are_of_the_seed_and_a_larger_rho_keeps_those_of_a_smaller_one():
    truth_N = np.random.default_rng(0).integers(0, 8, 500)
    assert (
        paired_emotions(truth_N, 0.5, np.random.default_rng(3))
        == paired_emotions(truth_N, 0.5, np.random.default_rng(3))
    ).all()
    assert (
        paired_emotions(truth_N, 0.5, np.random.default_rng(3))
        != paired_emotions(truth_N, 0.5, np.random.default_rng(4))
    ).any()
    sure = np.random.default_rng(3).random(500) < 0.5
    for rho in (0.5, 0.7):
        assert (paired_emotions(truth_N, rho, np.random.default_rng(3))[sure] == truth_N[sure]).all()


@pytest.mark.parametrize("rho", [-0.1, 1.01, float("nan")])
def test_what_is_no_probability_is_named(rho):
    with pytest.raises(ValueError, match=str(rho)):
        paired_emotions(np.zeros(3, int), rho, np.random.default_rng(0))


@pytest.mark.parametrize(
    "speakers, seeds, held_out", [(24, 3, 4), (24, 6, 4), (24, 8, 3), (24, 1, 4), (91, 3, 15), (5, 2, 1)]
)
def test_each_seed_holds_out_other_speakers(speakers, seeds, held_out):
    names, truth_N = acted(speakers, 6)
    splits = split_speakers(names, truth_N, seeds)
    everyone = [name for split in splits for name in split.held_out]
    assert len(everyone) == len(set(everyone)) == seeds * held_out
    for split in splits:
        parts = Counter(split.of(name) for name in set(names))
        assert parts["unheard"] == held_out and parts["val"] >= 1 and parts["train"] >= 1
        assert not set(split.held_out) & set(split.val)
    assert splits == split_speakers(names[::-1], truth_N[::-1], seeds)


def test_more_speakers_are_held_out_where_a_sixth_has_too_few_clips():
    names, truth_N = acted(12, 2)  # two clips of an emotion each: five need three speakers, a sixth is two
    assert [len(split.held_out) for split in split_speakers(names, truth_N, 3)] == [3, 3, 3]


@pytest.mark.parametrize("speakers, clips, seeds", [(2, 9, 1), (4, 9, 5), (9, 1, 9)])
def test_too_few_speakers_or_clips_for_the_seeds_is_said(speakers, clips, seeds):
    with pytest.raises(ValueError, match=f"{speakers} speakers.*{seeds} seeds.*fewer seeds"):
        split_speakers(*acted(speakers, clips), seeds)


def test_seed_interval_is_scipys_one_sample_t_interval():
    values_S = np.array([0.61, 0.58, 0.66])
    theirs = stats.ttest_1samp(values_S, 0).confidence_interval(0.95)
    assert seed_interval(values_S) == pytest.approx((theirs.low, theirs.high))
    assert (0.5 - seed_interval(np.array([0.4, 0.6]))[0]) / 0.1 == pytest.approx(12.706, abs=1e-3)  # t table, 1 degree


def answers(seed: int, speakers: int = 5, skill: float = 0.0) -> TransferPredictions:
    """25 clips of a speaker; the true emotion's score is higher by `skill` standard deviations."""
    rng = np.random.default_rng(seed)
    names, truth_N = acted(speakers, 5)
    scores_NE = rng.normal(size=(len(names), 8))
    scores_NE[np.arange(len(names)), truth_N] += skill
    return TransferPredictions(scores_NE, truth_N, np.char.add(f"seed{seed}/", names))


def test_the_mean_is_over_seeds_of_the_mean_over_the_frequent_emotions():
    parts = [answers(seed, skill=1.0) for seed in range(3)]
    result = transfer_quality(parts)
    theirs = [np.mean([roc_auc_score(p.truth_N == c, p.probabilities_NE[:, c]) for c in range(5)]) for p in parts]
    assert result.by_seed == pytest.approx(theirs) and result.mean_auc == pytest.approx(np.mean(theirs))
    assert result.n == 375 and result.speakers == 15 and result.resampled == "speakers"
    assert result.auc["anger"].positives == 75 and result.auc["fear"].value is None
    known = stats.norm.cdf(1 / np.sqrt(2))  # of two normal distributions one standard deviation apart
    assert result.low < known < result.high
    low, high = seed_interval(np.array(theirs))
    assert result.low <= low + 1e-9 and result.high >= high - 1e-9


def test_guessing_contains_chance_and_one_seed_says_where_its_interval_comes_from():
    assert transfer_quality([answers(7)]).interval_from == "speakers"
    assert transfer_quality([answers(7, speakers=4)]).interval_from == "clips"
    covered = [transfer_quality([answers(3 * k + s) for s in range(3)], 200) for k in range(40)]
    assert sum(result.low <= 0.5 <= result.high for result in covered) >= 37


def test_equal_seeds_leave_the_spread_of_the_speakers():
    part = answers(1, skill=1.0)
    result = transfer_quality([part, part, part])
    assert result.high - result.low > 0.02


def test_an_emotion_needs_clips_in_every_seeds_part():
    whole, without_anger = np.repeat(np.arange(5), 5), np.repeat(np.arange(5), (5, 5, 5, 5, 4))
    assert "anger" in measurable([whole, whole]) and "anger" not in measurable([whole, without_anger])
    assert set(measurable([whole])) == set(EMOTIONS[:5])
