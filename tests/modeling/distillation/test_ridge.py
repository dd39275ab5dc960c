"""The closed form against scikit-learn's Ridge, and sums of parts against those of the whole."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import Ridge

from modeling.distillation.ridge import LinearSums

SPEAKERS = ("a", "b", "c")


def windows(seed: int = 0, count: int = 60) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """By speaker: features (N, 6) of unequal scale around a mean of the speaker's own, targets (N, 8) that follow them."""
    rng = np.random.default_rng(seed)
    truth_FE, found = rng.normal(0, 1, (6, 8)), []
    for speaker in SPEAKERS:
        moves_NF = rng.normal(0, 1, (count, 6)) * [1, 10, 0.1, 1, 1, 3]
        targets_NE = moves_NF @ truth_FE + rng.normal(0, 1, (count, 8)) + rng.normal(0, 5, 8)
        found.append((speaker, moves_NF + rng.normal(0, 20, 6), targets_NE))
    return found


def sums_of(given: list[tuple[str, np.ndarray, np.ndarray]]) -> LinearSums:
    sums = LinearSums()
    for each in given:
        sums.add(*each)
    return sums


def centred(given) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.concatenate([each[k] - each[k].mean(0) for each in given]) for k in (1, 2))


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
def test_the_head_is_scikit_learns_ridge_on_what_moves_within_speakers(penalty):
    given = windows()
    head = sums_of(given).solve(penalty)
    features_NF, targets_NE = centred(given)
    scale_F = features_NF.std(0)
    ridge = Ridge(alpha=penalty * len(features_NF), fit_intercept=False).fit(features_NF / scale_F, targets_NE)
    np.testing.assert_allclose(head.weight_EF, ridge.coef_ / scale_F, rtol=1e-8, atol=1e-10)
    assert head.explained == pytest.approx(
        1 - np.square(targets_NE - ridge.predict(features_NF / scale_F)).sum() / np.square(targets_NE).sum()
    )


def test_the_answer_to_the_mean_voice_is_the_mean_target_and_its_softmax_the_prior():
    given = windows()
    head = sums_of(given).solve(1.0)
    features_NF, targets_NE = (np.concatenate([each[k] for each in given]) for k in (1, 2))
    np.testing.assert_allclose(head.weight_EF @ features_NF.mean(0) + head.bias_E, targets_NE.mean(0))
    np.testing.assert_allclose(head.prior_E, softmax(targets_NE.mean(0)))


def test_what_tells_speakers_apart_changes_no_weight():
    given = windows()
    other = [(name, x + 100 * (k + 1), y - 50 * k) for k, (name, x, y) in enumerate(given)]
    np.testing.assert_allclose(
        sums_of(other).solve(1.0).weight_EF, sums_of(given).solve(1.0).weight_EF, rtol=1e-6, atol=1e-8
    )


def test_sums_of_parts_add_up_to_those_of_the_whole_whatever_the_cut():
    given = windows()
    whole, parts = sums_of(given).solve(1.0), LinearSums()
    for name, x, y in reversed(given):
        for start in range(0, len(x), 7):
            part = LinearSums()
            part.add(name, x[start : start + 7], y[start : start + 7])
            parts.merge(part)
    assert parts.windows == 180
    np.testing.assert_allclose(parts.solve(1.0).weight_EF, whole.weight_EF, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(parts.solve(1.0).bias_E, whole.bias_E, rtol=1e-9, atol=1e-9)


def test_merging_leaves_what_is_merged_as_it_was():
    given = windows()
    first, second = sums_of(given[:1]), sums_of(given[1:])
    before = second.solve(1.0).weight_EF.copy()
    first.merge(second)
    first.merge(sums_of(windows(1)))
    np.testing.assert_array_equal(second.solve(1.0).weight_EF, before)


def test_a_feature_that_never_moves_has_no_weight_and_one_window_a_speaker_teaches_nothing():
    given = [(name, np.column_stack([x, np.full(len(x), 3.0)]), y) for name, x, y in windows()]
    head = sums_of(given).solve(1.0)
    assert (head.weight_EF[:, 6] == 0).all() and np.isfinite(head.weight_EF).all()
    with pytest.raises(ValueError, match=r"3 windows of 3 speakers do not differ within a speaker"):
        sums_of([(name, x[:1], y[:1]) for name, x, y in windows()]).solve(1.0)
    with pytest.raises(ValueError, match="no windows"):
        LinearSums().solve(1.0)


def test_numbers_that_are_not_finite_are_refused_with_their_speaker():
    name, x, y = windows()[0]
    with pytest.raises(ValueError, match="speaker a hold NaN"):
        LinearSums().add(name, np.where(x > 20, np.nan, np.nan), y)
