"""The student on files of any kind and length: one row a file, probabilities and optionally the embedding."""

import itertools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import ray
import torch
from ray.data import ActorPoolStrategy

from cluster import storage
from cluster.budget import Stage
from cluster.failures import UserError
from cluster.progress import progress
from cluster.session import place, session, worker_cores
from modeling.emotions import EMOTIONS
from modeling.student import Student
from pipeline.clips_layout import SUFFIXES as VIDEO_SUFFIXES
from pipeline.frames import probe
from pipeline.rejects import Rejected, RejectReason
from pipeline.speech import SAMPLE_RATE_HZ, read_speech

AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus", ".wma")

SPAN_S = 10.0
"""A longer file is read and scored in spans of the longest clip the paper's student takes; memory stays that of one."""

PREDICTION_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("reject_reason", pa.string()),
        ("reject_detail", pa.string()),
        ("seconds", pa.float64()),
        ("emotion", pa.string()),
        *((emotion, pa.float32()) for emotion in EMOTIONS),
        ("embedding", pa.list_(pa.float32())),
    ]
)


def media_files(paths: list[str]) -> list[str]:
    """The files named, and the audio and video files below the folders named. Raises UserError if there are none."""
    found = []
    for path in map(storage.absolute, paths):
        if storage.is_folder(path):
            found += [file.uri for file in storage.list_files(path, AUDIO_SUFFIXES + VIDEO_SUFFIXES)]
        elif storage.exists(path):
            found.append(path)
        else:
            raise UserError(f"{path}: not found; give audio or video files, or folders that hold them")
    if not found:
        raise UserError(
            f"{', '.join(paths)}: no audio or video file there ({', '.join(AUDIO_SUFFIXES + VIDEO_SUFFIXES)})"
        )
    return list(dict.fromkeys(found))


class FilePredictor:
    """Ray Data callable: rows with `file` -> rows of `PREDICTION_SCHEMA`."""

    def __init__(self, student: ray.ObjectRef, with_embeddings: bool):
        self.student: Student = ray.get(student)
        self.with_embeddings = with_embeddings

    def __call__(self, rows: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self._predict(uri) for uri in rows["file"].to_pylist()], schema=PREDICTION_SCHEMA)

    def _predict(self, uri: str) -> dict:
        try:
            with storage.local_copy(uri) as path:
                outputs = [self._outputs(speech_T) for speech_T in spans(path)]
        except Rejected as problem:
            return {"file": uri, "reject_reason": problem.reason.value, "reject_detail": problem.detail}
        samples, probabilities_NE, embeddings_ND = (np.array(values) for values in zip(*outputs, strict=True))
        probabilities_E = np.average(probabilities_NE, axis=0, weights=samples)
        return {
            "file": uri,
            "seconds": samples.sum() / SAMPLE_RATE_HZ,
            "emotion": EMOTIONS[int(probabilities_E.argmax())],
            **dict(zip(EMOTIONS, probabilities_E, strict=True)),
            "embedding": np.average(embeddings_ND, axis=0, weights=samples) if self.with_embeddings else None,
        }

    def _outputs(self, speech_T: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
        logits_E, embedding_D = self.student.outputs_of_clip(torch.from_numpy(speech_T))
        return len(speech_T), logits_E.softmax(0).numpy(), embedding_D.numpy()


def spans(path: str) -> Iterator[np.ndarray]:
    """The speech of a file in pieces of up to 10 s, int16 at 16 kHz; pieces under 1 s are left out unless there is no other.

    Raises Rejected where the file cannot be read or holds no sound.
    """
    duration_s = probe(path).duration_s
    short = np.zeros(0, np.int16)
    has_sound = False
    for index in itertools.count():
        speech_T = read_speech(path, index * SPAN_S, (index + 1) * SPAN_S)
        if len(speech_T) >= SAMPLE_RATE_HZ:
            has_sound = True
            yield speech_T
        elif len(speech_T) > len(short):
            short = speech_T
        is_last = len(speech_T) < SPAN_S * SAMPLE_RATE_HZ if duration_s is None else (index + 1) * SPAN_S >= duration_s
        if is_last:
            break
    if not has_sound:
        if not len(short):
            raise Rejected(RejectReason.TOO_SHORT, "the audio stream holds no samples")
        yield short


def predict(student: Student, files: list[str], with_embeddings: bool, address: str | None) -> pa.Table:
    """One row of `PREDICTION_SCHEMA` for each file, in the order given."""
    with session(address), progress(len(files), "predict", "files") as bar:
        stage = Stage(name="student", workers=min(worker_cores(address), len(files)))
        place([stage])
        rows = (
            ray.data.from_arrow([pa.table({"file": [file]}) for file in files])
            .map_batches(
                FilePredictor,
                fn_constructor_args=(ray.put(student), with_embeddings),
                batch_format="pyarrow",
                batch_size=None,
                compute=ActorPoolStrategy(size=stage.workers),
                num_cpus=stage.cpus,
            )
            .iter_batches(batch_format="pyarrow", batch_size=None)
        )
        found = []
        for batch in rows:
            found += batch.to_pylist()
            bar.update(len(batch))
    order = {file: position for position, file in enumerate(files)}
    return pa.Table.from_pylist(sorted(found, key=lambda row: order[row["file"]]), schema=PREDICTION_SCHEMA)
