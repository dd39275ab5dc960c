"""A student that hears several windows at once: what waits for it at the same time is one forward pass.

Shape letters: B clips, T samples, E = 8 emotions, D embedding.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue

import torch
from torch import Tensor

from modeling.students.base import MIN_SAMPLES
from modeling.students.build import Student

MOST_TOGETHER = 32

Outputs = tuple[Tensor, Tensor]
"""Logits (E,) and embedding (D,) of a clip."""


class BatchingStudent(Student):
    """Answers `outputs_of_clip` of many threads by passes over clips of one length. Nobody waits for others to come: a pass takes
    what is there when the one before it ends."""

    def __init__(self, student: Student, most_together: int = MOST_TOGETHER):
        super().__init__()
        self.student, self.most_together = student.eval(), most_together
        self.config, self.meta = student.config, getattr(student, "meta", None) or {}
        self.waiting: SimpleQueue[tuple[Tensor, Future[Outputs]]] = SimpleQueue()
        self.passes = 0
        threading.Thread(target=self._work, daemon=True).start()

    def spectrogram(self, wave_BT: Tensor) -> Tensor:
        return self.student.spectrogram(wave_BT)

    def outputs(self, spectrogram_BFL: Tensor) -> Outputs:
        return self.student.outputs(spectrogram_BFL)

    def clip_frames(self, frames: int) -> int:
        return self.student.clip_frames(frames)

    def outputs_of_clip(self, wave_T: Tensor) -> Outputs:
        """As `Student.outputs_of_clip`."""
        answer: Future[Outputs] = Future()
        self.waiting.put((wave_T, answer))
        return answer.result()

    def _work(self) -> None:
        while True:
            taken = [self.waiting.get()]
            while len(taken) < self.most_together:
                try:
                    taken.append(self.waiting.get_nowait())
                except Empty:
                    break
            for length in {len(wave_T) for wave_T, _ in taken}:
                self._answer([each for each in taken if len(each[0]) == length])

    def _answer(self, taken: Sequence[tuple[Tensor, Future[Outputs]]]) -> None:
        self.passes += 1
        try:
            found = self._outputs([wave_T for wave_T, _ in taken])
        except Exception as error:  # noqa: BLE001 (each caller gets it)
            for _, answer in taken:
                answer.set_exception(error)
            return
        for (_, answer), outputs in zip(taken, found, strict=True):
            answer.set_result(outputs)

    @torch.no_grad()
    def _outputs(self, waves: Sequence[Tensor]) -> list[Outputs]:
        if len(waves) == 1 or len(waves[0]) < MIN_SAMPLES:
            return [self.student.outputs_of_clip(wave_T) for wave_T in waves]
        spectrogram = self.spectrogram(torch.stack(list(waves)))
        start, frames = self.clip_start(spectrogram.shape[2]), self.clip_frames(spectrogram.shape[2])
        logits_BE, embedding_BD = self.outputs(spectrogram[:, :, start : start + frames])
        return list(zip(logits_BE, embedding_BD, strict=True))
