"""Runs the student on one file of any kind and length: its answer for the whole file and, if wanted, for short windows.

The file is decoded once, from start to end. Shape letters: T samples at 16 kHz, W windows, E = 8 emotions, D embedding,
K classes of a head.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from modeling.emotions import EMOTIONS
from modeling.sampling import SAMPLE_RATE_HZ
from modeling.students.build import Student
from modeling.students.head import EmotionHead
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.media.source_files import SourceFiles
from pipeline.media.speech import SILENCE_DB, mean_level_db
from pipeline.rejects import Rejected, RejectReason
from pipeline.students.timelines import TimelineOptions, WindowCutter, is_last_window

SPAN_S = 10.0
"""A longer file is scored in spans of this length, the longest clip that the paper's student takes; memory stays that of one
span."""

CLIPPED_ABOVE = 0.99 * 32_767
"""A sample of more is at full scale."""

ROWS_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("reject_reason", pa.string()),
        ("reject_detail", pa.string()),
        ("trace", pa.string()),  # of an unforeseen error
        ("seconds", pa.float64()),
        ("clipped", pa.float32()),
        ("sound_sha256", pa.string()),  # over its decoded samples
        ("probabilities", pa.list_(pa.float32())),
        ("head", pa.list_(pa.float32())),
        ("embedding", pa.list_(pa.float32())),
        ("window_start_s", pa.list_(pa.float64())),
        ("window_end_s", pa.list_(pa.float64())),
        ("window_probabilities", pa.list_(pa.float32())),  # W x E in one list; NaN in a silent window
        ("window_head", pa.list_(pa.float32())),
    ]
)
"""One row per file; `pipeline/students/prediction_tables.py` turns it into tables for people."""


@dataclass(frozen=True, kw_only=True)
class PredictionOptions:
    """What is wanted for each file.

    timeline: also answers for windows; head: also the user's own classes.
    """

    embeddings: bool = False
    timeline: TimelineOptions | None = None
    head: EmotionHead | None = None


class Predictions:
    """The student's answers for the stretches of one file, in order. A silent stretch gets NaN."""

    def __init__(self, student: Student, head: EmotionHead | None):
        self.student, self.head = student, head
        self.samples: list[int] = []
        self.starts: list[int] = []
        self.probabilities: list[np.ndarray] = []
        self.embedding_sum, self.heard = np.zeros(1), 0
        self.head_probabilities: list[np.ndarray] = []

    def add(self, start: int, speech_T: np.ndarray, covers: int) -> None:
        """covers: number of the file's samples that the stretch represents."""
        self.starts.append(start)
        self.samples.append(covers)
        if mean_level_db(speech_T) < SILENCE_DB:
            self.probabilities.append(np.full(len(EMOTIONS), np.nan, np.float32))
            self.head_probabilities.append(np.full(len(self.head.classes) if self.head else 0, np.nan))
            return
        logits_E, embedding_D = self.student.outputs_of_clip(torch.from_numpy(speech_T))
        self.probabilities.append(logits_E.softmax(0).numpy())
        self.embedding_sum = self.embedding_sum + covers * embedding_D.numpy().astype(np.float64)
        self.heard += covers
        if self.head:
            self.head_probabilities.append(self.head.probabilities(embedding_D.numpy()))

    def probabilities_of_file(self) -> np.ndarray:
        """(E,): mean over the stretches that are not silent, weighted by `covers`. Raises Rejected if all are silent."""
        if not self.heard:
            detail = f"no stretch of it has a mean level above {SILENCE_DB:g} dB"
            raise Rejected(RejectReason.SILENT, detail)
        probabilities_NE, samples_N = np.array(self.probabilities), np.array(self.samples, np.float64)
        heard_N = np.isfinite(probabilities_NE[:, 0])
        return np.average(probabilities_NE[heard_N], axis=0, weights=samples_N[heard_N])

    def embedding_of_file(self) -> np.ndarray:
        """(D,): the same mean as `probabilities_of_file`."""
        return self.embedding_sum / self.heard


class FilePredictor:
    """Answers for one file after another, each decoded in a child process."""

    def __init__(self, student: Student, options: PredictionOptions, decoder: IsolatedDecoder | None = None):
        """decoder: one that has been started; None starts one."""
        self.student, self.options = student, options
        self.decoder = decoder or IsolatedDecoder()
        self.decoder.start()

    def __call__(self, uri: str) -> dict[str, Any]:
        """A row of `ROWS_SCHEMA`; for a file that cannot be used, it holds the reason."""
        try:
            with SourceFiles() as files:
                pieces = self.decoder.stream(files.path(uri))
                return {"file": uri} | predictions_of_sound(self.student, pieces, self.options)
        except Rejected as problem:
            reason = {"reject_reason": problem.reason.value, "reject_detail": problem.detail}
            return {"file": uri, "trace": problem.trace} | reason

    def close(self) -> None:
        self.decoder.close()


def predictions_of_sound(student: Student, pieces: Iterable[np.ndarray], options: PredictionOptions) -> dict[str, Any]:
    """The columns of `ROWS_SCHEMA` for the sound of one file. Raises Rejected if there is nothing to hear.

    pieces: int16 at 16 kHz, each of any length.
    """
    spans = Stretches(Predictions(student, None), TimelineOptions(window_s=SPAN_S, hop_s=SPAN_S))
    windows = Stretches(Predictions(student, options.head), options.timeline) if options.timeline else None
    total = clipped = 0
    digest = hashlib.sha256()
    for piece in pieces:
        total += len(piece)
        digest.update(piece.tobytes())
        clipped += int((np.abs(piece.astype(np.int32)) >= CLIPPED_ABOVE).sum())
        spans.push(piece)
        if windows:
            windows.push(piece)
    if not total:
        raise Rejected(RejectReason.TOO_SHORT, "the audio stream holds no samples")
    spans.close()
    probabilities_E, embedding_D = spans.answers.probabilities_of_file(), spans.answers.embedding_of_file()
    row = {
        "seconds": total / SAMPLE_RATE_HZ,
        "clipped": clipped / total,
        "sound_sha256": digest.hexdigest(),
        "probabilities": probabilities_E,
        "embedding": embedding_D if options.embeddings else None,
        "head": options.head.probabilities(embedding_D) if options.head else None,
    }
    if windows:
        windows.close()
        row |= _window_columns(windows, total)
    return row


class Stretches:
    """Cuts sound that comes in pieces into stretches, and runs the student on each."""

    def __init__(self, answers: Predictions, options: TimelineOptions):
        self.answers, self.options = answers, options
        self.cutter = WindowCutter(options.window, options.hop)

    def push(self, piece: np.ndarray) -> None:
        for start, speech_T in self.cutter.push(piece):
            self.answers.add(start, speech_T, self.options.window)

    def close(self) -> None:
        start, speech_T = self.cutter.rest()
        if is_last_window(self.options, start, len(speech_T)):
            self.answers.add(start, speech_T, len(speech_T))


def _window_columns(windows: Stretches, total: int) -> dict[str, Any]:
    starts_W = np.array(windows.answers.starts)
    ends_W = np.minimum(starts_W + windows.options.window, total)
    return {
        "window_start_s": starts_W / SAMPLE_RATE_HZ,
        "window_end_s": ends_W / SAMPLE_RATE_HZ,
        "window_probabilities": np.concatenate(windows.answers.probabilities),
        "window_head": np.concatenate(windows.answers.head_probabilities) if windows.answers.head else None,
    }
