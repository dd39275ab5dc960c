import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from modeling.emotions import EMOTIONS
from modeling.evaluation.auc import EmotionAuc, emotion_auc, mean_auc, mean_auc_difference, resampled_auc, weighted_auc
from modeling.evaluation.bootstrap import Resamples


def noisy_scores(n: int, speakers: int, seed: int = 0, classes: int = 5):
    """Scores that favour the true class a little; neutral is the most common, the last three classes are absent."""
    rng = np.random.default_rng(seed)
    dominant = rng.choice(classes, n, p=np.array([6, 2, 1, 1, 1]) / 11)
    scores = rng.dirichlet(np.ones(8), n)
    scores[np.arange(n), dominant] += 0.1
    return scores, dominant, rng.integers(speakers, size=n).astype(str)


def test_values_agree_with_sklearn_and_lie_in_their_intervals():
    scores, dominant, speakers = noisy_scores(600, 20)
    result = emotion_auc(scores, dominant, speakers)
    for index, emotion in enumerate(EMOTIONS[:5]):
        entry = result[emotion]
        assert entry.value == pytest.approx(roc_auc_score(dominant == index, scores[:, index]))
        assert entry.low < entry.value < entry.high
        assert entry.positives == (dominant == index).sum()
    mean = mean_auc(scores, dominant, speakers)
    assert mean.value == pytest.approx(np.mean([result[emotion].value for emotion in EMOTIONS[:5]]))
    assert mean.low < mean.value < mean.high
    assert mean.resampled == "speakers"
    json.dumps([dataclasses.asdict(figures) for figures in (*result.values(), mean)], allow_nan=False)


def test_fewer_than_five_positives_is_not_estimable_and_left_out_of_the_mean():
    scores, dominant, speakers = noisy_scores(300, 10)
    dominant[dominant == 4] = 0
    dominant[:4] = 4
    result = emotion_auc(scores, dominant, speakers)
    assert result["anger"] == EmotionAuc(None, None, None, positives=4)
    assert mean_auc(scores, dominant, speakers).emotions == ("neutral", "happiness", "surprise", "sadness")
    everything_neutral = mean_auc(scores, np.zeros(300, int), speakers)
    assert everything_neutral.value is None and everything_neutral.emotions == ()


def test_rare_emotions_do_not_count_in_the_mean():
    scores, dominant, speakers = noisy_scores(300, 10)
    dominant[:50] = EMOTIONS.index("fear")
    assert emotion_auc(scores, dominant, speakers)["fear"].value is not None
    assert "fear" not in mean_auc(scores, dominant, speakers).emotions


def test_few_speakers_resample_utterances():
    assert mean_auc(*noisy_scores(200, 4)).resampled == "utterances"


def test_resampling_speakers_widens_the_interval_when_a_speaker_decides_the_score():
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(10), 60)
    dominant = (rng.random(600) < 0.5).astype(int)
    skill = rng.choice([-1.0, 1.0], 10)[speakers]
    scores = np.zeros((600, 8))
    scores[:, 1] = skill * dominant + rng.normal(0, 0.5, 600)

    def width(groups):
        entry = emotion_auc(scores, dominant, groups)["happiness"]
        return entry.high - entry.low

    assert width(speakers) > 3 * width(np.arange(600))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(12, 60), levels=st.integers(2, 8))
def test_a_resample_equals_sklearn_on_the_repeated_rows_with_ties(seed, n, levels):
    rng = np.random.default_rng(seed)
    score, positive = rng.integers(levels, size=n) / levels, np.arange(n) % 2 == 0
    counts = np.maximum(rng.multinomial(n, np.full(n, 1 / n)), np.arange(n) < 2)  # at least one of each kind
    rows = np.repeat(np.arange(n), counts)
    ours = weighted_auc(score, positive, counts[None].astype(np.float32))
    assert ours[0] == pytest.approx(roc_auc_score(positive[rows], score[rows]))


def test_the_auc_of_resampled_groups_is_scikit_learns_with_the_groups_as_weights():
    rng = np.random.default_rng(0)
    score_N, group_N = rng.integers(0, 20, 200) / 20, rng.integers(0, 7, 200)  # with ties
    positive_N = rng.random(200) < 0.3
    drawn = Resamples.draw(group_N, resamples=20)
    theirs = [roc_auc_score(positive_N, score_N, sample_weight=counts_G[group_N]) for counts_G in drawn.counts_RG]
    assert resampled_auc(score_N, positive_N, drawn) == pytest.approx(theirs)


def test_the_interval_covers_the_truth_about_19_times_in_20():
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        dominant = np.arange(200) % 2
        scores = np.zeros((200, 8))
        scores[:, 1] = rng.normal(0, 1, 200) + dominant * 0.7416  # AUC of two unit normals 0.7416 apart: 0.70
        entry = emotion_auc(scores, dominant, np.arange(200), resamples=200)["happiness"]
        covered += entry.low <= 0.70 <= entry.high
    assert 88 <= covered <= 100


def test_the_same_seed_gives_the_same_interval():
    assert emotion_auc(*noisy_scores(200, 9), seed=3) == emotion_auc(*noisy_scores(200, 9), seed=3)


def test_wrong_input_is_named():
    scores, dominant, speakers = noisy_scores(50, 9)
    with pytest.raises(ValueError, match="scores \\(49, 8\\)"):
        emotion_auc(scores[:-1], dominant, speakers)
    scores[3, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 50 rows"):
        mean_auc(scores, dominant, speakers)


def test_a_difference_is_paired_over_the_same_resamples():
    scores, dominant, speakers = noisy_scores(400, 20)
    better = scores.copy()
    better[np.arange(400), dominant] += 0.01  # a little better on every utterance
    found = mean_auc_difference(better, scores, dominant, speakers)
    values = [mean_auc(s, dominant, speakers) for s in (better, scores)]
    assert found.value == pytest.approx(values[0].value - values[1].value)
    assert 0 < found.low < found.value < found.high
    assert values[0].low < values[1].high  # which the intervals of each on its own do not show
    assert found.high - found.low < (values[0].high - values[0].low) / 2
    same = mean_auc_difference(scores, scores, dominant, speakers)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_a_difference_equals_two_loops_over_the_same_drawn_speakers():
    scores, dominant, speakers = noisy_scores(200, 8)
    other, _, _ = noisy_scores(200, 8, seed=1)
    drawn = Resamples.draw(speakers, resamples=50, seed=4)
    names, expected = np.unique(speakers), []
    for counts in drawn.counts_RG.astype(int):
        rows = np.concatenate([np.tile(np.flatnonzero(speakers == s), n) for s, n in zip(names, counts, strict=True)])
        rows = rows.astype(int)
        aucs = [[roc_auc_score(dominant[rows] == k, s[rows, k]) for k in range(5)] for s in (scores, other)]
        expected.append(np.mean(aucs[0]) - np.mean(aucs[1]))
    found = mean_auc_difference(scores, other, dominant, speakers, resamples=50, seed=4)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(expected, [2.5, 97.5])))


def test_a_difference_of_nothing_estimable_is_none():
    scores, _, speakers = noisy_scores(50, 9)
    found = mean_auc_difference(scores, scores, np.zeros(50, int), speakers)
    assert (found.value, found.low, found.high, found.emotions) == (None, None, None, ())
