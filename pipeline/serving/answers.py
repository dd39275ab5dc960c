"""Answers to uploaded files: decoded in child processes, heard by one student, nothing kept.

Shape letters: T samples at 16 kHz.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from modeling.students.build import Student
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.rejects import EXPLANATIONS, RejectReason
from pipeline.students.file_prediction import FilePredictor, PredictionOptions, Predictions
from pipeline.students.load import student_meta
from pipeline.students.prediction_tables import as_rows, file_columns, timeline_columns
from pipeline.students.timelines import TimelineOptions

FILES_AT_ONCE = 2
"""Each has a decoder in a process of its own; further files wait."""


class Answers:
    """The student's answers, as rows of `emovox predict`. `close` ends its decoders."""

    def __init__(self, student: Student, files_at_once: int = FILES_AT_ONCE):
        self.student, self.meta = student, student_meta(student)
        self.files = ThreadPoolExecutor(files_at_once)
        self.windows = ThreadPoolExecutor(1)  # a voice that is speaking now does not wait for somebody's file
        self.of_thread = threading.local()
        self.started: list[IsolatedDecoder] = []

    def close(self) -> None:
        for threads in (self.files, self.windows):
            threads.shutdown(cancel_futures=True)
        for decoder in self.started:
            decoder.close()

    async def of_file(self, path: Path, name: str, timeline: TimelineOptions | None = None) -> dict[str, Any]:
        """The row of `predict` for the file at `path`, under the name that its sender gave it; with `timeline`, also a list of
        that name with a row for each window. For a file that cannot be used: `reject_reason`, `reject_detail`, and `meaning`,
        which explains the reason."""
        return await asyncio.get_running_loop().run_in_executor(self.files, self._of_file, path, name, timeline)

    async def of_window(self, speech_T: np.ndarray) -> dict[str, Any]:
        """int16 speech -> its raw and corrected probabilities, as in a row of the timeline; None for each if it is silent."""
        return await asyncio.get_running_loop().run_in_executor(self.windows, self._of_window, speech_T)

    def _of_file(self, path: Path, name: str, timeline: TimelineOptions | None) -> dict[str, Any]:
        predict = FilePredictor(self.student, PredictionOptions(timeline=timeline), self._decoder())
        row = predict(str(path)) | {"file": name}
        [columns] = as_rows(file_columns([row], self.meta))
        answer = {column: value for column, value in columns.items() if value is not None}
        if "reject_reason" in answer:
            return answer | {"meaning": EXPLANATIONS[RejectReason(answer["reject_reason"])]}
        if timeline is None:
            return answer
        windows = as_rows(timeline_columns([row], self.meta))
        return answer | {"timeline": [_without(window, "file") for window in windows]}

    def _of_window(self, speech_T: np.ndarray) -> dict[str, Any]:
        heard = Predictions(self.student, None)
        heard.add(0, speech_T, len(speech_T))
        row = {"file": "", "window_probabilities": heard.probabilities[0], "window_start_s": [0], "window_end_s": [0]}
        [answer] = as_rows(timeline_columns([row], self.meta))
        return _without(answer, "file", "start_s", "end_s")

    def _decoder(self) -> IsolatedDecoder:
        if not hasattr(self.of_thread, "decoder"):
            self.of_thread.decoder = IsolatedDecoder()
            self.started.append(self.of_thread.decoder)
        return self.of_thread.decoder


def _without(row: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
