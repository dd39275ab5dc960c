"""Tar files for WebDataset: for each utterance KEY.flac, its speech, and KEY.json, its labels.

A key may hold no dot, since WebDataset takes what follows the first one for the kind of the file; nor a slash, which would
make a folder of it. The utterance's id stands in the JSON as it is.
"""

import hashlib
import io
import json
import tarfile
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from modeling.emotions import EMOTIONS
from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.label_export.rows import emotions_of, probabilities_of

LONGEST_KEY = 200
"""File systems take names of 255 bytes, and an ending comes behind the key."""


class TarShard:
    """One tar file, in memory until it is whole."""

    def __init__(self, temperature: float):
        self._temperature = temperature
        self._file = io.BytesIO()
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, rows: pa.Table) -> None:
        facts = rows.drop_columns(["speech_flac"]).to_pylist()
        probabilities, emotions = probabilities_of(rows, self._temperature), emotions_of(rows)
        for row, flac, p_E, emotion in zip(facts, rows["speech_flac"], probabilities, emotions, strict=True):
            key = key_of(row["utterance_id"])
            self._write(f"{key}.flac", flac.as_py())
            self._write(f"{key}.json", json.dumps(self._label(row, p_E, emotion), allow_nan=False).encode())

    def _label(self, row: dict[str, Any], p_E: np.ndarray, emotion: int) -> dict[str, Any]:
        named = {name: row[name] for name in ("utterance_id", "speaker_id", "video_id", "start_s", "end_s", "split")}
        return named | {
            "emotion": EMOTIONS[emotion],
            "probabilities": shortest(p_E),
            "temperature": self._temperature,
            "logits": shortest(row["logits"]),
            "frame_logits": [shortest(frame) for frame in row["frame_logits"] or []],
            "frame_indices": row["frame_indices"] or [],
            "face_is_ambiguous": row["face_is_ambiguous"],
            "teacher": row["teacher"],
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "samples": row["speech_samples"],
        }

    def _write(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)  # no time and no owner: the same set gives the same bytes
        member.size = len(data)
        self._tar.addfile(member, io.BytesIO(data))

    def content(self) -> bytes:
        self._tar.close()
        return self._file.getvalue()


def key_of(utterance_id: str) -> str:
    """The id with everything but letters, digits, - and _ as %XX; a long one is cut and ends with a hash of the id."""
    key = quote(utterance_id, safe="").replace(".", "%2E").replace("~", "%7E")
    if len(key) <= LONGEST_KEY:
        return key
    return f"{key[: LONGEST_KEY - 33]}-{hashlib.sha256(utterance_id.encode()).hexdigest()[:32]}"


def shortest(values: Any) -> list[float]:
    """As float32, in the fewest digits that give it back."""
    return [float(text) for text in np.asarray(values, np.float32).astype(str)]
