import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeling.distillation.targets import aggregate, draw_window, frame_span, pool_logits, window_of, window_span

WINDOW = 64_384


def test_times_map_to_the_papers_frames():
    assert frame_span(0.0, 0.28) == (0, 1)  # getBatchEmoVoxCeleb.m, emoVoxZoo.m
    assert frame_span(0.0, 0.2799) == (0, 0)
    assert frame_span(0.52, 0.7599) == (2, 2)
    with pytest.raises(ValueError, match="start_s"):
        frame_span(2.0, 1.0)


@given(st.integers(0, 16_000 * 60))
def test_span_of_a_window_equals_exact_arithmetic_and_has_17_or_18_frames(start):
    def index(sample: int) -> int:
        return math.floor(max(Fraction(25 * sample, 16_000) - 1, 0) / 6)

    first, last = window_span(start)
    assert (first, last) == (index(start), index(start + WINDOW - 1))
    assert last - first + 1 in (17, 18)


def test_pooling_takes_each_class_on_its_own_and_includes_both_ends():
    logits = np.array([[9, 9, 9], [1, 5, 0], [3, 2, -1], [0, 0, 8]], np.float32)
    indices = np.array([0, 2, 5, 6])
    assert pool_logits(logits, indices, 2, 5).tolist() == [3, 5, 0]
    assert pool_logits(logits, indices, 2, 5, how="mean").tolist() == [2, 3.5, -0.5]
    assert pool_logits(logits, indices, 3, 4) is None
    assert pool_logits(logits, indices, 7, 20) is None
    with pytest.raises(ValueError, match="median"):
        pool_logits(logits, indices, 0, 6, how="median")


def test_the_target_of_an_utterance_is_the_maximum_over_all_frames():
    logits = np.random.default_rng(0).normal(size=(30, 8))
    np.testing.assert_array_equal(aggregate(logits), pool_logits(logits, np.arange(30), 0, 29))
    with pytest.raises(ValueError, match="no frame logits"):
        aggregate(np.zeros((0, 8)))


@settings(max_examples=150, deadline=None)
@given(
    samples=st.integers(1, 600_000),
    indices=st.lists(st.integers(0, 155), min_size=1, max_size=4, unique=True),
    seed=st.integers(0, 99),
)
def test_every_drawn_window_lies_in_the_speech_and_holds_a_label(samples, indices, seed):
    reach = window_span(max(0, samples - WINDOW))[1]
    rng = np.random.default_rng(seed)
    if min(indices) > reach:
        with pytest.raises(ValueError, match="none of the"):
            draw_window(rng, samples, np.array(indices))
        return
    start = draw_window(rng, samples, np.array(indices))
    assert 0 <= start <= max(0, samples - WINDOW)
    first, last = window_span(start)
    assert any(first <= k <= last for k in indices)


def test_windows_are_uniform_where_every_frame_is_labelled():
    samples, rng = 16_000 * 12, np.random.default_rng(0)
    starts = np.array([draw_window(rng, samples, np.arange(50)) for _ in range(2000)])
    counts, _ = np.histogram(starts, bins=8, range=(0, samples - WINDOW))
    assert ((counts - 250) ** 2 / 250).sum() < 24.3  # chi-squared, 7 degrees of freedom, p = 0.001
    assert starts.max() <= samples - WINDOW


def test_a_single_label_in_a_long_recording_is_found():
    start = draw_window(np.random.default_rng(0), 16_000 * 3600, np.array([5000]))
    first, last = window_span(start)
    assert first <= 5000 <= last


def test_no_labelled_frame_is_an_error():
    with pytest.raises(ValueError, match="none of the 0"):
        draw_window(np.random.default_rng(0), 100_000, np.array([], np.int32))


def test_a_window_is_a_cut_or_is_padded_with_zeros_at_its_end():
    speech = np.arange(-30_000, 30_000, dtype=np.int16).repeat(2)
    np.testing.assert_array_equal(window_of(speech, 1000), speech[1000 : 1000 + WINDOW])
    short = window_of(speech[:100], 0)
    assert short.dtype == np.int16 and short.shape == (WINDOW,)
    assert (short[:100] == speech[:100]).all() and not short[100:].any()
    with pytest.raises(ValueError, match="outside"):
        window_of(speech[:100], 100)
    with pytest.raises(ValueError, match="int16"):
        window_of(speech.astype(np.float32), 0)
