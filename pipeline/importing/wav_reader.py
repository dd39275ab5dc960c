"""From a wav and its published logits to a row of the distillation set."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray.actor import ActorHandle

from cluster.tally import MAX_DEATHS, Meter
from modeling.distillation.targets import aggregate
from modeling.emotions import EMOTIONS
from modeling.sampling import FRAME_PERIOD_S, SAMPLE_RATE_HZ
from pipeline.decoding.deadline import Deadline
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.decoding.requests import SpeechRequest
from pipeline.media.flac import encode_flac
from pipeline.media.source_files import SourceFiles
from pipeline.media.speech import require_speech
from pipeline.rejects import Rejected, RejectReason, blaming
from pipeline.schema import DISTILLATION_SCHEMA, IDENTITY_FIELDS, MANIFEST_SCHEMA

LENGTHS_MAY_DIFFER_S = 1.0
SAMPLE_BYTES = 2

LOGITS, REASON, DETAIL = "published_logits", "known_reason", "known_detail"
TASK_SCHEMA = pa.schema(
    [*MANIFEST_SCHEMA, pa.field(LOGITS, pa.binary()), pa.field(REASON, pa.string()), pa.field(DETAIL, pa.string())]
)
"""A row of the manifest with what belongs to it: n x 8 float32, or why it is a reject already."""

ROWS_HANDED_OUT = 8


class WavReader:
    """Ray Data callable: rows of `TASK_SCHEMA` -> tables of `DISTILLATION_SCHEMA`, handed out as they get ready; a bad item
    becomes a reject row.

    teacher: name and hash, for the column. Frame k lies at 6 k / 25 s (`time2idx` of getBatchEmoVoxCeleb.m, which counts from 1).
    """

    def __init__(self, *, teacher: str, deadline: Deadline, device: str = "cpu", tally: ActorHandle | None = None):
        self.teacher = teacher
        self.decoder = IsolatedDecoder(deadline)
        self.decoder.start()
        self.meter = Meter(tally)

    def __call__(self, utterances: pa.Table) -> Iterator[pa.Table]:
        rows = utterances.to_pylist()
        deadly = self.meter.begin(rows[0]["utterance_id"] if rows else "")
        ready: list[dict] = []
        with SourceFiles([() if _is_known(row) else (row["audio_uri"],) for row in rows]) as sources:
            for row in rows:
                if not _is_known(row):
                    self.meter.take_up(row["utterance_id"])
                ready.append(self._row(row, sources, row["utterance_id"] in deadly))
                if len(ready) == ROWS_HANDED_OUT:
                    self.meter.put_down()
                    yield pa.Table.from_pylist(ready, schema=DISTILLATION_SCHEMA)
                    ready = []
        self.meter.count("fetch", len(rows), seconds=sources.seconds, size_bytes=sources.size_bytes)
        self.meter.end()
        if ready or not rows:
            yield pa.Table.from_pylist(ready, schema=DISTILLATION_SCHEMA)

    def _row(self, row: dict, sources: SourceFiles, is_deadly: bool) -> dict:
        identity = {field.name: row[field.name] for field in IDENTITY_FIELDS}
        start = time.perf_counter()
        try:
            if is_deadly:
                detail = f"{MAX_DEATHS} worker processes died while they worked on it"
                raise Rejected(RejectReason.WORKER_DIED, detail)
            logits_NE = _logits(row)
            path = sources.path(row["audio_uri"])
            start = time.perf_counter()  # the decoder works while this process waits, and the other way round
            columns = self._columns(logits_NE, path)
        except Rejected as problem:
            if problem.trace:
                self.meter.tell(f"{row['utterance_id']}: {problem}\n{problem.trace}")
            self.meter.count("decode", 1, 1, time.perf_counter() - start)
            return identity | {"reject_reason": problem.reason.value, "reject_detail": problem.detail}
        columns["decode_s"] = time.perf_counter() - start
        self.meter.count("decode", 1, 0, columns["decode_s"], columns["speech_samples"] * SAMPLE_BYTES)
        return identity | columns

    def _columns(self, logits_NE: np.ndarray, path: str) -> dict[str, Any]:
        speech_T = self.decoder.ask(SpeechRequest(path=path))
        require_speech(speech_T)
        _require_same_length(logits_NE, speech_T)
        with blaming(RejectReason.DAMAGED_AUDIO):
            speech_flac = encode_flac(speech_T)
        logits_E = aggregate(logits_NE)
        frames_N = np.arange(len(logits_NE))
        return {
            "emotion": EMOTIONS[int(logits_E.argmax())],
            "logits": logits_E,
            "frame_logits": logits_NE.tolist(),
            "frame_indices": frames_N,
            "frame_times_s": frames_N * FRAME_PERIOD_S,
            "frames_sampled": len(frames_N),
            "speech_flac": speech_flac,
            "speech_samples": len(speech_T),
            "teacher": self.teacher,
            "teacher_masks": [],
        }


def as_read(teacher: ray.ObjectRef | None, device: str) -> Callable[[pa.Table], pa.Table]:
    """The labeller of a run whose rows are labelled when they are read."""
    return lambda rows: rows


def _is_known(row: dict) -> bool:
    return row[REASON] is not None


def _logits(row: dict) -> np.ndarray:
    """The published logits_NE. Raises Rejected where there are none, or none to be used."""
    if _is_known(row):
        raise Rejected(RejectReason(row[REASON]), row[DETAIL])
    logits_NE = np.frombuffer(row[LOGITS], np.float32).reshape(-1, len(EMOTIONS))
    if not len(logits_NE):
        raise Rejected(RejectReason.NO_LOGITS, "its entry in the file of logits is empty")
    if not np.isfinite(logits_NE).all():
        broken = int((~np.isfinite(logits_NE)).any(axis=1).sum())
        raise Rejected(RejectReason.TEACHER_NOT_FINITE, f"NaN or infinity in {broken} of {len(logits_NE)} pictures")
    return logits_NE


def _require_same_length(logits_NE: np.ndarray, speech_T: np.ndarray) -> None:
    pictures_s, sound_s = len(logits_NE) * FRAME_PERIOD_S, len(speech_T) / SAMPLE_RATE_HZ
    if abs(pictures_s - sound_s) > LENGTHS_MAY_DIFFER_S:
        detail = f"{len(logits_NE)} pictures are {pictures_s:.2f} s, the sound {sound_s:.2f} s"
        raise Rejected(RejectReason.LENGTHS_DIFFER, detail)
