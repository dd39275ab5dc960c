"""Taking the prior out of the student's answers."""

import numpy as np
import pytest

from modeling.students.prior import calibrated_strength, corrected, soft_prior


def test_the_prior_is_the_mean_softmax():
    logits = np.array([[0.0] * 8, [np.log(9)] + [0.0] * 7])
    assert soft_prior(logits)[0] == pytest.approx((1 / 8 + 9 / 16) / 2) and soft_prior(logits).sum() == pytest.approx(1)


def test_without_the_prior_an_answer_equal_to_it_says_nothing():
    prior = np.array([0.7, 0.1, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01])
    assert corrected(prior, prior) == pytest.approx(np.full(8, 1 / 8))
    assert corrected(prior, prior, strength=0) == pytest.approx(prior)
    answers = np.stack([prior, np.roll(prior, 1)])
    by_hand = answers / np.sqrt(prior)
    assert corrected(answers, prior, 0.5) == pytest.approx(by_hand / by_hand.sum(1, keepdims=True))


def test_an_emotion_that_the_teacher_does_not_know_is_not_lifted():
    prior = np.array([0.6, 0.4] + [0.0] * 6)
    answer = corrected(np.array([0.6, 0.394] + [0.001] * 6), prior)
    assert answer[0] == pytest.approx(answer[1], rel=0.02) and answer[2:].max() < 0.001


@pytest.mark.parametrize("true_strength", [0.0, 0.5, 1.0])
def test_the_strength_that_was_put_in_is_found_again(true_strength):
    """Answers that hold the prior to a known power, and are right about each emotion otherwise."""
    rng = np.random.default_rng(0)
    prior = np.array([0.6, 0.2, 0.08, 0.05, 0.03, 0.02, 0.01, 0.01])
    dominant = rng.permutation(np.arange(4000) % 8)
    evidence = rng.dirichlet(np.ones(8), 4000)
    keep = rng.random(4000) < evidence[np.arange(4000), dominant] / evidence.max(
        1
    )  # so that the evidence is calibrated
    answers = evidence * prior**true_strength
    found = calibrated_strength((answers / answers.sum(1, keepdims=True))[keep], dominant[keep], prior)
    assert found == pytest.approx(true_strength, abs=0.1)


def test_too_little_to_calibrate_on_gives_one():
    prior = np.full(8, 1 / 8)
    assert calibrated_strength(np.full((5, 8), 1 / 8), np.arange(5), prior) == 1.0
    assert calibrated_strength(np.full((50, 8), 1 / 8), np.zeros(50, int), prior) == 1.0
