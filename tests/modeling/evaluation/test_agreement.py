"""Agreement of two answers, against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from modeling.emotions import EMOTIONS, MASKED_LOGIT
from modeling.evaluation.agreement import (
    MOST_RESAMPLED,
    cohens_kappa,
    dominant_agreement,
    draw,
    jensen_shannon,
    soft_differences,
)


@pytest.fixture
def answers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Dominant emotions of A and of B, which is often the same, and 12 speakers of whom some agree more than others."""
    rng = np.random.default_rng(3)
    speakers_N = rng.integers(0, 12, 600)
    a_N = rng.choice(8, 600, p=[0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0])
    b_N = np.where(rng.random(600) < 0.3 + 0.05 * speakers_N, a_N, rng.integers(0, 8, 600))
    return a_N, b_N, speakers_N


def test_agreement_confusion_and_kappa_are_those_of_scikit_learn(answers):
    a_N, b_N, speakers_N = answers
    found = dominant_agreement(a_N, b_N, draw(speakers_N))
    assert found.confusion.tolist() == confusion_matrix(a_N, b_N, labels=range(8)).tolist()
    assert found.kappa.value == pytest.approx(cohen_kappa_score(a_N, b_N))
    assert found.overall.value == (a_N == b_N).mean()
    happy = found.by_emotion["happiness"]
    assert (happy.value, happy.n) == ((b_N[a_N == 1] == 1).mean(), (a_N == 1).sum())
    assert (found.by_emotion["contempt"].value, found.by_emotion["contempt"].n) == (None, 0)


def test_intervals_resample_whole_speakers(answers):
    """Against a plain bootstrap: draw speakers, take all that is theirs."""
    a_N, b_N, speakers_N = answers
    rng = np.random.default_rng(9)
    values = []
    for _ in range(1000):
        rows = np.concatenate([np.flatnonzero(speakers_N == s) for s in rng.integers(0, 12, 12)])
        values.append(((a_N == b_N)[rows].mean(), cohen_kappa_score(a_N[rows], b_N[rows])))
    found = dominant_agreement(a_N, b_N, draw(speakers_N))
    expected = np.percentile(values, [2.5, 97.5], axis=0)
    assert found.resampled == "speakers"
    assert [found.overall.low, found.overall.high] == pytest.approx(expected[:, 0], abs=0.015)
    assert [found.kappa.low, found.kappa.high] == pytest.approx(expected[:, 1], abs=0.02)


def test_many_utterances_of_few_speakers_have_no_interval():
    a_N = np.arange(MOST_RESAMPLED + 1) % 8
    found = dominant_agreement(a_N, a_N, draw(np.zeros(len(a_N), int)))
    assert (found.overall.value, found.overall.low, found.resampled) == (1.0, None, None)


def test_kappa_is_undefined_where_both_name_one_emotion_only():
    assert np.isnan(cohens_kappa(np.diag([7, 0, 0])))


def test_jensen_shannon_is_scipys():
    rng = np.random.default_rng(1)
    p_NE, q_NE = softmax(rng.normal(0, 4, (50, 8)), axis=1), softmax(rng.normal(0, 4, (50, 8)), axis=1)
    assert jensen_shannon(p_NE, q_NE) == pytest.approx(jensenshannon(p_NE, q_NE, base=2, axis=1))
    assert jensen_shannon(np.eye(8)[:1], np.eye(8)[1:2]) == pytest.approx([1])
    assert jensen_shannon(p_NE, p_NE) == pytest.approx(np.zeros(50), abs=1e-7)


def test_soft_differences_leave_out_what_one_teacher_does_not_know():
    rng = np.random.default_rng(2)
    a_NE, b_NE = rng.normal(0, 2, (2, 40, 8)).astype(np.float32)
    b_NE[:, EMOTIONS.index("contempt")] = MASKED_LOGIT
    found = soft_differences(a_NE, b_NE)
    p_NE, q_NE = softmax(a_NE[:, :7].astype(float), axis=1), softmax(b_NE[:, :7].astype(float), axis=1)
    assert found.js_N == pytest.approx(jensenshannon(p_NE, q_NE, base=2, axis=1))
    assert found.kl_ab_N == pytest.approx(entropy(p_NE, q_NE, axis=1))
    assert found.kl_ba_N == pytest.approx(entropy(q_NE, p_NE, axis=1))
