"""Distillation-set rows with known content: a tone as speech, and logits of a given emotion."""

import numpy as np
import pyarrow as pa

from modeling.emotions import EMOTIONS
from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.media.flac import encode_flac
from pipeline.schema import DISTILLATION_SCHEMA, IDENTITY_FIELDS


def labelled_row(
    utterance_id: str, emotion: str = "neutral", split: str = "train", seconds: float = 5.0, **columns
) -> dict:
    """A row whose speech is a tone at 200 Hz times (1 + the emotion's index) and whose frames all show the emotion."""
    index = EMOTIONS.index(emotion)
    samples = int(seconds * SAMPLE_RATE_HZ)
    noise = np.random.default_rng(len(utterance_id)).normal(0, 300, samples)
    tone = 8000 * np.sin(2 * np.pi * 200 * (1 + index) * np.arange(samples) / SAMPLE_RATE_HZ)
    frames = int(seconds / 0.24)
    logits = np.where(np.arange(len(EMOTIONS)) == index, 4.0, 0.0)
    return {
        "utterance_id": utterance_id,
        "speaker_id": utterance_id.split("/", maxsplit=1)[0],
        "video_id": utterance_id,
        "video_uri": f"/videos/{utterance_id}.mp4",
        "audio_uri": f"/videos/{utterance_id}.mp4",
        "start_s": 0.0,
        "end_s": seconds,
        "split": split,
        "emotion": emotion,
        "logits": logits,
        "frame_logits": np.tile(logits, (frames, 1)).tolist(),
        "frame_indices": np.arange(frames),
        "frame_times_s": np.arange(frames) * 0.24,
        "frame_boxes": np.tile([0.2, 0.1, 0.6, 0.7], (frames, 1)).tolist(),
        "frame_scores": np.full(frames, 0.99),
        "frames_sampled": frames,
        "speech_flac": encode_flac((tone + noise).astype(np.int16)),
        "speech_samples": samples,
        "teacher": "compact@0123456789abcdef",
        "detector": "mobilenet0.25@0123456789abcdef",
    } | columns


def reject_row(utterance_id: str, reason: str, **columns) -> dict:
    row = labelled_row(utterance_id)
    kept = {field.name: row[field.name] for field in IDENTITY_FIELDS}
    return kept | {"reject_reason": reason, "reject_detail": "as made by the test"} | columns


def label_table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=DISTILLATION_SCHEMA)
