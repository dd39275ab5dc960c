"""One labelled utterance in the report: everything on one time axis, in percent of its length.

Times here are seconds from the start of the utterance. Shape letters: N values, E = 8 emotions.
"""

from collections.abc import Mapping

import numpy as np
from scipy.special import softmax

from modeling.emotions import EMOTIONS
from modeling.sampling import FRAME_PERIOD_S, SAMPLE_RATE_HZ
from pipeline.media.flac import decode_flac
from pipeline.reports import figures

TICK_STEPS_S = (0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
MOST_TICKS = 8
LEAST_ROOM = 4.0
"""Percent of the axis; pictures of faces are at least this wide, even if they then overlap."""


def _percent(part: float, whole: float) -> float:
    return round(100 * float(part) / whole, 3)


def axis_length(row: dict) -> float:
    """Length of the axis in seconds: the speech's, or that of the sampled frames if they end after the speech."""
    speech_s = (row["speech_samples"] or 0) / SAMPLE_RATE_HZ
    last_s = FRAME_PERIOD_S * (row["frames_sampled"] - 1)
    return speech_s if speech_s > last_s else last_s + FRAME_PERIOD_S


def teacher_steps(row: dict, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """(edges_s (N+1,), probabilities_NE) over the whole grid: softmax of the frame logits at T = 1; NaN without a face."""
    probabilities_NE = np.full((row["frames_sampled"], len(EMOTIONS)), np.nan)
    probabilities_NE[row["frame_indices"]] = softmax(np.asarray(row["frame_logits"], np.float64), axis=1)
    edges_s = FRAME_PERIOD_S * np.arange(row["frames_sampled"] + 1)
    return edges_s.clip(max=duration_s), probabilities_NE


def student_steps(timeline: dict, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """(edges_s (N+1,), probabilities_NE): each window extends halfway to its neighbours."""
    times_s = np.asarray(timeline["times_s"], np.float64)
    middles_s = (times_s[1:] + times_s[:-1]) / 2
    half_s = np.diff(times_s).mean() / 2 if len(times_s) > 1 else duration_s
    edges_s = np.concatenate([times_s[:1] - half_s, middles_s, times_s[-1:] + half_s])
    return edges_s.clip(0, duration_s), np.asarray(timeline["probabilities"])


def gaps(edges_s: np.ndarray, probabilities_NE: np.ndarray, duration_s: float) -> list[dict]:
    """Spans without a face: left end and width in percent."""
    faceless = np.ma.clump_masked(np.ma.masked_invalid(probabilities_NE[:, 0]))
    spans_s = [(float(edges_s[clump.start]), float(edges_s[clump.stop])) for clump in faceless]
    return [{"left": _percent(a, duration_s), "width": _percent(b - a, duration_s)} for a, b in spans_s]


def _ticks(duration_s: float) -> list[dict]:
    step_s = next((step for step in TICK_STEPS_S if duration_s / step <= MOST_TICKS), duration_s)
    return [
        {"left": _percent(k * step_s, duration_s), "text": f"{k * step_s:g}"}
        for k in range(int(duration_s / step_s) + 1)
    ]


def _thumbnails(row: dict, duration_s: float) -> dict:
    """Pictures with their position on the axis; `room`: the width in percent at which none overlaps its neighbour."""
    times_s = np.clip(np.asarray(row["thumbnail_times_s"] or []) - row["start_s"], 0, duration_s)
    pictures = [
        {"left": _percent(time, duration_s), "time_s": time, "uri": figures.data_uri("image/jpeg", jpeg)}
        for time, jpeg in zip(times_s, row["thumbnails"] or [], strict=True)
    ]
    room = 100.0
    if len(times_s) > 1:  # the outermost pictures are moved inside the axis by up to half their width
        outer_s = min(times_s[1], duration_s - times_s[-2]) / 1.5
        room = _percent(min(np.diff(times_s).min(), outer_s), duration_s)
    return {"pictures": pictures, "room": max(room, LEAST_ROOM)}


def _in_words(probabilities_E: np.ndarray) -> str:
    """The most likely emotions, at most three, with their probabilities."""
    best = [k for k in np.argsort(-probabilities_E)[:3] if probabilities_E[k] >= 0.01]
    return ", ".join(f"{EMOTIONS[k]} {100 * probabilities_E[k]:.0f}\N{NO-BREAK SPACE}%" for k in best)


def _lane(name: str, steps: tuple[np.ndarray, np.ndarray], duration_s: float) -> dict:
    edges_s, probabilities_NE = steps
    alt = f"{name}'s probabilities over time; on average {_in_words(np.nanmean(probabilities_NE, axis=0))}"
    return {"uri": figures.stacked_probabilities(edges_s, probabilities_NE, duration_s), "alt": alt}


def _sound(flac: bytes | None, duration_s: float) -> dict | None:
    """Spectrogram and player; None for a row without speech."""
    if not flac:
        return None
    speech_N = decode_flac(flac)
    return {
        "spectrogram": figures.spectrogram(speech_N, SAMPLE_RATE_HZ),
        "width": _percent(len(speech_N) / SAMPLE_RATE_HZ, duration_s),
        "top_khz": SAMPLE_RATE_HZ / 2000,
    }


def utterance_card(row: dict, timelines: Mapping[str, dict]) -> dict:
    """The template's values for one labelled row of the distillation set; `timelines`: those of students, by the name to show."""
    duration_s = axis_length(row)
    steps = teacher_steps(row, duration_s)
    soft_label_E = softmax(np.asarray(row["logits"], np.float64))
    return {
        "row": row,
        "duration_s": duration_s,
        "ticks": _ticks(duration_s),
        "thumbnails": _thumbnails(row, duration_s),
        "gaps": gaps(*steps, duration_s),
        "teacher": _lane("Teacher", steps, duration_s),
        "students": [
            {"name": name} | _lane(name.capitalize(), student_steps(timeline, duration_s), duration_s)
            for name, timeline in timelines.items()
        ],
        "soft_label": dict(zip(EMOTIONS, soft_label_E.tolist(), strict=True)),
        "soft_label_in_words": _in_words(soft_label_E),
        "sound": _sound(row["speech_flac"], duration_s),
        "audio": figures.data_uri("audio/flac", row["speech_flac"]) if row["speech_flac"] else None,
    }
