"""One labelled utterance as the report shows it: everything on one time axis, in percent of its length.

Times here are seconds from the start of the utterance. Shape letters: N frames, E = 8 emotions.
"""

import io

import numpy as np
import soundfile
from scipy.special import softmax

from modeling.emotions import EMOTIONS
from pipeline import report_figures

FRAME_STEP_S = 6 / 25
"""Every sixth frame at 25 frames a second is labelled (paper section 0.1)."""
TICK_STEPS_S = (0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600)
MOST_TICKS = 8
FLAC = "audio/flac"


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 3)


def _runs(indices_N: np.ndarray) -> list[np.ndarray]:
    """Positions of the frames that follow each other on the grid without a gap."""
    return np.split(np.arange(len(indices_N)), np.flatnonzero(np.diff(indices_N) > 1) + 1)


def _edges(times_s: np.ndarray, half_step_s: float, duration_s: float) -> np.ndarray:
    """Each value holds to the middle between it and its neighbour."""
    middles_s = (times_s[1:] + times_s[:-1]) / 2
    return np.clip(np.concatenate([[times_s[0] - half_step_s], middles_s, [times_s[-1] + half_step_s]]), 0, duration_s)


def teacher_runs(row: dict, duration_s: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """(edges_s, probabilities_NE) for each stretch with a face: softmax of the frame logits at T = 1."""
    probabilities_NE = softmax(np.asarray(row["frame_logits"], np.float64), axis=1)
    times_s = np.asarray(row["frame_times_s"]) - row["start_s"]
    return [
        (_edges(times_s[run], FRAME_STEP_S / 2, duration_s), probabilities_NE[run])
        for run in _runs(np.asarray(row["frame_indices"]))
    ]


def student_run(timeline: dict, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """(edges_s, probabilities_NE) of the student's sliding windows; a single window stands for the whole utterance."""
    times_s = np.asarray(timeline["times_s"], np.float64)
    if len(times_s) == 1:
        return np.array([0, duration_s]), np.asarray(timeline["probabilities"])
    half_step_s = np.diff(times_s).mean() / 2
    return _edges(times_s, half_step_s, duration_s), np.asarray(timeline["probabilities"])


def gaps(row: dict, runs: list[tuple[np.ndarray, np.ndarray]], duration_s: float) -> list[dict]:
    """Stretches of the grid without a face, as left and width in percent."""
    starts_s, ends_s = [edges[0] for edges, _ in runs], [edges[-1] for edges, _ in runs]
    if row["frame_indices"][0] == 0:
        starts_s = starts_s[1:]
    else:
        ends_s = [0.0, *ends_s]
    if row["frame_indices"][-1] >= row["frames_sampled"] - 1:
        ends_s = ends_s[: len(starts_s)]
    else:
        starts_s = [*starts_s, duration_s]
    return [
        {"left": _percent(a, duration_s), "width": _percent(b - a, duration_s)}
        for a, b in zip(ends_s, starts_s, strict=True)
        if b > a
    ]


def _ticks(duration_s: float) -> list[dict]:
    step_s = next((step for step in TICK_STEPS_S if duration_s / step <= MOST_TICKS), duration_s)
    return [
        {"left": _percent(k * step_s, duration_s), "text": f"{k * step_s:g}"}
        for k in range(int(duration_s / step_s) + 1)
    ]


def _thumbnails(row: dict, duration_s: float) -> dict:
    """Pictures with their place on the axis; `room`: the width in percent at which none hides its neighbour."""
    times_s = np.clip(np.asarray(row["thumbnail_times_s"] or []) - row["start_s"], 0, duration_s)
    pictures = [
        {"left": _percent(time, duration_s), "time_s": time, "uri": report_figures.data_uri("image/jpeg", jpeg)}
        for time, jpeg in zip(times_s, row["thumbnails"] or [], strict=True)
    ]
    room = 100 * np.diff(times_s).min() / duration_s if len(times_s) > 1 else 100.0
    return {"pictures": pictures, "room": round(max(float(room), 4.0), 2)}


def _in_words(probabilities_E: np.ndarray) -> str:
    """The likeliest emotions, three at most, with their share."""
    best = [k for k in np.argsort(-probabilities_E)[:3] if probabilities_E[k] >= 0.01]
    return ", ".join(f"{EMOTIONS[k]} {100 * probabilities_E[k]:.0f} %" for k in best)


def _lane(name: str, runs: list[tuple[np.ndarray, np.ndarray]], duration_s: float) -> dict:
    mean_E = np.average(
        np.vstack([p for _, p in runs]), axis=0, weights=np.concatenate([np.diff(edges) for edges, _ in runs]) + 1e-9
    )
    alt = f"{name}'s probabilities over time; on average {_in_words(mean_E)}"
    return {"uri": report_figures.stacked_probabilities(runs, duration_s), "alt": alt}


def utterance_card(row: dict, timeline: dict | None) -> dict:
    """What the template needs for one labelled row of the distillation set; `timeline`: the student's, if any."""
    speech_N, rate_hz = soundfile.read(io.BytesIO(row["speech_flac"]), dtype="float32")
    speech_s = len(speech_N) / rate_hz
    duration_s = max(speech_s, row["frame_times_s"][-1] - row["start_s"] + FRAME_STEP_S / 2)
    runs = teacher_runs(row, duration_s)
    soft_label_E = softmax(np.asarray(row["logits"], np.float64))
    return {
        "row": row,
        "duration_s": duration_s,
        "ticks": _ticks(duration_s),
        "thumbnails": _thumbnails(row, duration_s),
        "gaps": gaps(row, runs, duration_s),
        "teacher": _lane("Teacher", runs, duration_s),
        "student": _lane("Student", [student_run(timeline, duration_s)], duration_s) if timeline else None,
        "soft_label": dict(zip(EMOTIONS, soft_label_E.tolist(), strict=True)),
        "soft_label_in_words": _in_words(soft_label_E),
        "spectrogram": report_figures.spectrogram(speech_N, rate_hz),
        "speech_width": min(100.0, _percent(speech_s, duration_s)),
        "top_khz": rate_hz / 2000,
        "audio": report_figures.data_uri(FLAC, row["speech_flac"]),
    }
