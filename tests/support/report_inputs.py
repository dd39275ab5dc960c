"""Hand-made inputs of a report, with known content: rows, timelines and evaluations."""

import io

import cv2
import numpy as np
import soundfile
from scipy.special import softmax

from modeling.emotions import EMOTIONS
from pipeline.reports.facts import ClipSource, ReportFacts
from pipeline.schema import DISTILLATION_SCHEMA
from tests.support.label_rows import labelled_row

RATE_HZ = 16_000


def drawn_face(smile: float) -> bytes:
    picture = np.full((64, 64, 3), (150, 190, 225), np.uint8)
    for eye in ((22, 26), (42, 26)):
        cv2.circle(picture, eye, 4, (40, 40, 40), -1)
    cv2.ellipse(picture, (32, 42), (12, max(1, round(8 * smile))), 0, 0, 180, (30, 30, 160), 2)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def flac(seconds: float, tone_at_s: float | None = None) -> bytes:
    """FLAC of quiet noise with a 1 kHz tone of 0.2 s."""
    rng = np.random.default_rng(0)
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    sound = 0.001 * rng.standard_normal(len(times))
    at = seconds / 2 if tone_at_s is None else tone_at_s
    sound += np.where((times >= at) & (times < at + 0.2), 0.5 * np.sin(2 * np.pi * 1000 * times), 0)
    file = io.BytesIO()
    soundfile.write(file, sound, RATE_HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def pictured_row(
    number: int, seconds: float = 3.0, missing: tuple[int, ...] = (), start_s: float = 0.0, **changes
) -> dict:
    """A labelled row with everything that a page shows: faces, changing logits, sound. `missing`: grid positions without a
    face."""
    rng = np.random.default_rng(number)
    sampled = int(seconds / 0.24) + 1
    indices = [k for k in range(sampled) if k not in missing]
    logits = np.cumsum(rng.normal(0, 0.6, (sampled, 8)), axis=0)[indices] + rng.normal(0, 2, 8)
    times = [start_s + 0.24 * k for k in indices]
    pictured = times[:: max(1, len(times) // 6)]
    row = labelled_row(
        f"utt_{number:03d}", EMOTIONS[int(logits.max(axis=0).argmax())], "train" if number % 3 else "unheard"
    )
    return (
        dict.fromkeys(DISTILLATION_SCHEMA.names)
        | row
        | {
            **people_of(number),
            "start_s": start_s,
            "end_s": None,
            "logits": logits.max(axis=0).tolist(),
            "frame_logits": logits.tolist(),
            "frame_indices": indices,
            "frame_times_s": times,
            "frame_boxes": [[0, 0, 64, 64]] * len(indices),
            "frame_scores": [0.9] * len(indices),
            "frames_sampled": sampled,
            "face_tracks": [],
            "labelled_track": 0,
            "face_is_ambiguous": False,
            "thumbnails": [drawn_face(k / len(pictured)) for k in range(len(pictured))],
            "thumbnail_times_s": pictured,
            "speech_flac": flac(seconds),
            "speech_samples": round(seconds * RATE_HZ),
            "decode_s": 0.5,
            "detect_s": 0.25,
            "teacher_s": 0.125,
            **changes,
        }
    )


def people_of(number: int) -> dict:
    """Four people, each in one video."""
    return {"speaker_id": f"speaker_{number % 4}", "video_id": f"video_{number % 4}"}


def timeline(seconds: float) -> dict:
    rng = np.random.default_rng(1)
    times = np.arange(0.5, seconds, 0.5)
    return {"times_s": times.tolist(), "probabilities": softmax(rng.normal(size=(len(times), 8)), axis=1).tolist()}


def evaluation(split: str, resampled: str = "speakers", **changes) -> dict:
    auc = {emotion: {"value": None, "low": None, "high": None, "positives": 0} for emotion in EMOTIONS}
    auc["neutral"] = {"value": 0.613, "low": 0.402, "high": 0.801, "positives": 7}
    auc["happiness"] = {"value": 0.847, "low": 0.701, "high": 0.953, "positives": 5}
    return {
        "auc": auc,
        "mean_auc": 0.73,
        "split": split,
        "utterances": 12,
        "speakers": 4,
        "resampled": resampled,
        **changes,
    }


TRAINING = [{"epoch": k, "loss": 2.0 / k, "lr": 1e-4, "val_mean_auc": 0.5} for k in range(1, 6)]
FACTS = ReportFacts(
    title="A small run",
    seconds={"label": 12.34, "train": 56.7},
    teacher="compact@abc",
    detector="retinaface",
    versions={"torch": "2.9"},
    configuration={"student": {"epochs": 5}, "temperature": 2.0},
    clips=[ClipSource(name="clip_a", source="somewhere public", licence="CC BY 4.0")],
    files={"distillation set": "output/distillation_set.parquet"},
)
