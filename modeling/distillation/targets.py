"""From the teacher's frame logits to the target of an utterance or of one training window; plain numpy.

A labelled frame is identified by its position k on the 0.24 s grid (every 6th frame at 25 fps). Times are relative to the
start of the utterance. Shape letters: N labelled frames, E = 8 emotions.
"""

import math

import numpy as np

from modeling.emotions import EMOTIONS, MASKED_BELOW
from modeling.sampling import FRAME_STRIDE, SAMPLE_RATE_HZ, VIDEO_FRAME_RATE, WINDOW_SAMPLES

PADDINGS = ("zeros", "repeat")
POOLINGS = ("max", "mean", "attention")
REDRAWS = 20
ROUNDING = 1e-9  # grid steps: 0.28 s times 25 must not fall below 7


def grid_index(time_s: float) -> int:
    """Position on the 0.24 s grid that the authors' code gives to a time (time2idx, counted from 0)."""
    return math.floor(max(VIDEO_FRAME_RATE * time_s - 1, 0) / FRAME_STRIDE + ROUNDING)


def frame_span(start_s: float, end_s: float) -> tuple[int, int]:
    """(first, last) grid positions of a span of speech, both inclusive."""
    if not 0 <= start_s <= end_s:
        raise ValueError(f"{start_s = }, {end_s = }: a span starts at or after 0 s and does not end before its start")
    return grid_index(start_s), grid_index(end_s)


def window_span(start_sample: int) -> tuple[int, int]:
    """(first, last) grid positions of the training window that starts at a sample (it ends at its last sample, as in the
    authors' code)."""
    return frame_span(start_sample / SAMPLE_RATE_HZ, (start_sample + WINDOW_SAMPLES - 1) / SAMPLE_RATE_HZ)


def aggregate(frame_logits_NE: np.ndarray) -> np.ndarray:
    """Element-wise maximum over the frames of an utterance, (N, E) -> (E,); raw logits."""
    if len(frame_logits_NE) == 0:
        raise ValueError("there are no frame logits; an utterance without a labelled frame is a reject, not a target")
    return np.max(frame_logits_NE, axis=0)


def pool_logits(
    frame_logits_NE: np.ndarray, frame_indices_N: np.ndarray, first: int, last: int, how: str = "max"
) -> np.ndarray | None:
    """Pooled logits (E,) of the frames with first <= k <= last, or None if none of them is labelled.

    how: "max", element-wise (the paper); "mean"; or "attention", a mean weighted by the softmax over the frames of how far
    a frame's highest logit is above its mean logit, so that a clear expression counts for more.
    """
    if how not in POOLINGS:
        raise ValueError(f"{how = }: frame logits are pooled by one of {', '.join(POOLINGS)}")
    frame_indices_N = np.asarray(frame_indices_N)
    inside_NE = np.asarray(frame_logits_NE)[(frame_indices_N >= first) & (frame_indices_N <= last)]
    if len(inside_NE) == 0:
        return None
    if how == "max":
        return inside_NE.max(axis=0)
    if how == "mean":
        return inside_NE.mean(axis=0)
    from scipy.special import softmax

    known_NE = np.where(inside_NE > MASKED_BELOW, inside_NE, np.nan)
    weights_N = softmax(np.nanmax(known_NE, axis=1) - np.nanmean(known_NE, axis=1))
    return weights_N @ inside_NE


def draw_window(rng: np.random.Generator, samples: int, frame_indices: np.ndarray) -> int:
    """First sample of a random window of 64,384 samples that holds at least one labelled frame.

    Uniform over the utterance. A window without a labelled frame is drawn again; after 20 draws, the window is centred on a
    random labelled frame. Always 0 if the utterance is not longer than a window. (The authors first cut utterances to
    19.9 s to save memory; here the window comes from the whole utterance.) Raises ValueError if no labelled frame lies in
    the speech.
    """
    free = max(0, samples - WINDOW_SAMPLES)
    within = np.asarray(frame_indices, dtype=np.int64)
    within = within[(within >= 0) & (within <= window_span(free)[1])]
    if len(within) == 0:
        raise ValueError(
            f"none of the {len(frame_indices)} labelled frames lies in the {samples} samples of speech; leave it out"
        )
    for _ in range(REDRAWS):
        start = int(rng.integers(free + 1))
        first, last = window_span(start)
        if ((within >= first) & (within <= last)).any():
            return start
    seconds = int(rng.choice(within)) * FRAME_STRIDE / VIDEO_FRAME_RATE
    return min(free, max(0, round(seconds * SAMPLE_RATE_HZ) - WINDOW_SAMPLES // 2))


def window_of(speech_T: np.ndarray, start: int, padding: str = "zeros") -> np.ndarray:
    """The window int16 (64384,) from `start`; a view of the speech if it needs no padding.

    Shorter speech is padded at its end with "zeros" (the paper), or fills the window by "repeat": a student that normalises
    over the whole clip should not learn from silence that no test clip has.
    """
    if speech_T.dtype != np.int16 or speech_T.ndim != 1:
        raise ValueError(f"speech has type {speech_T.dtype} and shape {speech_T.shape}; it must be int16 samples (T,)")
    if not 0 <= start < max(1, len(speech_T)):
        raise ValueError(f"{start = } is outside the {len(speech_T)} samples of speech")
    if padding not in PADDINGS:
        raise ValueError(f"{padding = }: short speech is padded by one of {', '.join(PADDINGS)}")
    part_T = speech_T[start : start + WINDOW_SAMPLES]
    if len(part_T) == WINDOW_SAMPLES:
        return part_T
    if padding == "repeat":
        return np.resize(part_T, WINDOW_SAMPLES)
    window_T = np.zeros(WINDOW_SAMPLES, np.int16)
    window_T[: len(part_T)] = part_T
    return window_T


CERTAIN_LOGIT = -30.0
"""Logit of a class that a label excludes: e**-15 at temperature 2."""


def hard_logits(labels_N: np.ndarray) -> np.ndarray:
    """Indices of true classes (N,), each below 8 -> float32 (N, 8) that act as one-hot targets at every temperature in use."""
    labels_N = np.asarray(labels_N)
    if len(labels_N) and not 0 <= labels_N.min() <= labels_N.max() < len(EMOTIONS):
        raise ValueError(
            f"labels from {labels_N.min()} to {labels_N.max()}: a student has {len(EMOTIONS)} outputs, 0 to 7"
        )
    logits_NE = np.full((len(labels_N), len(EMOTIONS)), CERTAIN_LOGIT, np.float32)
    logits_NE[np.arange(len(labels_N)), labels_N] = 0
    return logits_NE
