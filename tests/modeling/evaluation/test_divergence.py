"""Divergence, rank correlation and confusion against SciPy, scikit-learn and plain loops."""

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, spearmanr
from sklearn.metrics import balanced_accuracy_score

from modeling.emotions import EMOTIONS
from modeling.evaluation.bootstrap import NOT_ESTIMABLE
from modeling.evaluation.divergence import (
    _weighted_spearman,
    balanced_accuracy,
    confusion,
    divergence_difference,
    divergences,
    mean_divergence,
    rank_correlations,
)


def softened(values, temperature=1.0):
    """Softmax of one row as a loop."""
    powers = [math.exp((value - max(values)) / temperature) for value in values]
    return [power / sum(powers) for power in powers]


def answers(n=200, speakers=20, seed=0, agreement=1.0):
    """Teacher logits, and a student whose logits are the teacher's times `agreement` and noise."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, 8)) + np.array([2, 1, 0, 0, 0, -2, -2, -2])
    student = agreement * logits + rng.normal(0, 1, (n, 8))
    return student, logits, rng.integers(speakers, size=n).astype(str)


def probabilities(student_logits):
    return np.array([softened(row) for row in student_logits])


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_divergence_is_scipys_relative_entropy_of_the_softened_answers(temperature):
    student, logits, _ = answers(40)
    expected = [
        entropy(softened(t, temperature), softened(s, temperature)) for t, s in zip(logits, student, strict=True)
    ]
    assert divergences(probabilities(student), logits, temperature) == pytest.approx(expected)


def test_divergence_is_zero_for_the_teachers_own_answer_and_infinite_never():
    _, logits, _ = answers(20)
    assert divergences(probabilities(logits), logits, 2.0) == pytest.approx(np.zeros(20), abs=1e-12)
    certain = np.tile(np.eye(8)[3], (20, 1))  # what a float32 softmax gives for logits far apart
    assert np.isfinite(divergences(certain, logits)).all()


def test_emotions_the_teacher_does_not_know_are_left_out():
    student, logits, speakers = answers(60)
    masked = logits.copy()
    masked[:, 7] = -100.0
    known = np.arange(7)
    expected = [entropy(softened(t), softened(s)) for t, s in zip(logits[:, known], student[:, known], strict=True)]
    assert divergences(probabilities(student), masked) == pytest.approx(expected)
    correlations = rank_correlations(probabilities(student), masked, speakers, resamples=20)
    assert correlations["contempt"] == NOT_ESTIMABLE
    assert correlations["neutral"].value is not None


def test_mean_divergence_has_an_interval_and_the_best_constant_answer_beside_it():
    student, logits, speakers = answers()
    found = mean_divergence(probabilities(student), logits, speakers, temperature=2.0)
    teacher = np.array([softened(row, 2.0) for row in logits])
    assert found.value == pytest.approx(
        np.mean([entropy(t, softened(s, 2.0)) for t, s in zip(teacher, student, strict=True)])
    )
    assert found.low < found.value < found.high
    assert found.constant == pytest.approx(np.mean([entropy(t, teacher.mean(0)) for t in teacher]))
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_intervals_resample_whole_speakers():
    """Ten speakers of whom the student understands half: utterance by utterance the mean would look sure."""
    student, logits, _ = answers(600)
    speakers = np.repeat(np.arange(10), 60)
    student = np.where((speakers < 5)[:, None], logits, -logits)
    by_speaker = mean_divergence(probabilities(student), logits, speakers)
    by_utterance = mean_divergence(probabilities(student), logits, np.arange(600))
    assert by_speaker.high - by_speaker.low > 3 * (by_utterance.high - by_utterance.low)
    correlation = rank_correlations(probabilities(student), logits, speakers)["sadness"]
    alone = rank_correlations(probabilities(student), logits, np.arange(600))["sadness"]
    assert correlation.high - correlation.low > 3 * (alone.high - alone.low)


def test_rank_correlation_is_scipys_and_lies_in_its_interval():
    student, logits, speakers = answers()
    p, t = probabilities(student), probabilities(logits)
    found = rank_correlations(p, logits, speakers)
    assert list(found) == list(EMOTIONS)
    for column, emotion in enumerate(EMOTIONS):
        assert found[emotion].value == pytest.approx(spearmanr(p[:, column], t[:, column]).statistic)
        assert found[emotion].low < found[emotion].value < found[emotion].high


def test_a_constant_answer_has_no_rank_correlation():
    _, logits, speakers = answers(30)
    found = rank_correlations(np.full((30, 8), 1 / 8), logits, speakers)
    assert all(entry == NOT_ESTIMABLE for entry in found.values())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(8, 50), levels=st.integers(2, 9))
def test_a_resample_equals_scipy_on_the_repeated_rows_with_ties(seed, n, levels):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(levels, size=n) / levels, rng.integers(levels, size=n) / levels
    counts = rng.multinomial(n, np.full(n, 1 / n))
    rows = np.repeat(np.arange(n), counts)
    ours = _weighted_spearman(x, y, counts[None].astype(np.float32))[0]
    if np.ptp(x[rows]) == 0 or np.ptp(y[rows]) == 0:
        assert np.isnan(ours)
    else:
        assert ours == pytest.approx(spearmanr(x[rows], y[rows]).statistic)


def test_confusion_counts_by_a_loop():
    rng = np.random.default_rng(0)
    dominant, predicted = rng.integers(4, size=100), rng.integers(8, size=100)
    counts = [[0] * 8 for _ in range(8)]
    for truth, answer in zip(dominant, predicted, strict=True):
        counts[truth][answer] += 1
    assert confusion(predicted, dominant).tolist() == counts


def test_balanced_accuracy_is_sklearns_over_the_emotions_that_occur():
    rng = np.random.default_rng(0)
    dominant = rng.choice(5, 300, p=[0.6, 0.2, 0.1, 0.05, 0.05])
    predicted = np.where(rng.random(300) < 0.6, dominant, rng.integers(5, size=300))
    found = balanced_accuracy(predicted, dominant, rng.integers(12, size=300))
    assert found.value == pytest.approx(balanced_accuracy_score(dominant, predicted))
    assert found.low < found.value < found.high and found.emotions == 5
    always_neutral = balanced_accuracy(np.zeros(300, int), dominant, rng.integers(12, size=300))
    assert always_neutral.value == pytest.approx(1 / 5)


def test_a_constant_answer_is_at_chance_in_every_resample_though_an_emotion_is_rare():
    dominant = np.repeat([0, 1, 6], [150, 49, 1])  # a third of the resamples lack the only fear
    found = balanced_accuracy(np.zeros(200, int), dominant, np.arange(200) % 20)
    assert [found.value, found.low, found.high] == pytest.approx([1 / 3] * 3)


def test_divergence_difference_is_paired():
    student, logits, speakers = answers()
    worse = divergence_difference(probabilities(student + 0.05), probabilities(student), logits, speakers)
    assert worse.low == pytest.approx(0, abs=1e-12) == worse.high  # a constant on every logit changes nothing
    flat = divergence_difference(probabilities(0.2 * student), probabilities(student), logits, speakers)
    assert 0 < flat.low < flat.value < flat.high
