"""From rows of a distillation set to windows of speech and their targets.

T samples, N labelled frames, E = 8 emotions, B windows of a batch.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from modeling.soft_targets import draw_window, pool_logits, window_of, window_span
from modeling.spectrogram import WINDOW_SAMPLES
from pipeline.speech import decode_flac

WINDOW_COLUMNS = ["utterance_id", "speech_samples", "speech_flac", "frame_indices", "frame_logits"]

PLACE = "place"
"""Column of a row's number in a table that is in memory."""

KEPT_BYTES = 512 * 2**20
"""Of decoded speech that a worker keeps from pass to pass: 4.6 hours. Decoding costs a CPU core 1.1 ms for 3.5 s of
speech, an eighth of what the compact student's training on it costs the same core."""


@dataclass(frozen=True, kw_only=True)
class WindowDraw:
    """How windows are drawn: `windows` from each utterance of a batch; `pooling` of frame logits and `padding` of short
    speech as `modeling.soft_targets` has them."""

    windows: int
    pooling: str
    seed: int
    padding: str = "zeros"


@dataclass(frozen=True)
class Utterance:
    """What windows are drawn from. speech_T: the whole of it, int16, or None: then a window is decoded from `flac`."""

    samples: int
    flac: bytes
    speech_T: np.ndarray | None
    frame_indices_N: np.ndarray
    frame_logits_NE: np.ndarray

    def window(self, start: int, padding: str) -> np.ndarray:
        """As `modeling.soft_targets.window_of` cuts it from the whole speech."""
        if self.speech_T is None:
            return window_of(decode_flac(self.flac, start, WINDOW_SAMPLES), 0, padding)
        return window_of(self.speech_T[start : start + WINDOW_SAMPLES], 0, padding)


class Utterances:
    """Rows as they are drawn from. The first `most_bytes` of speech that come by are decoded once and kept.

    whole: the rows of a set that is in memory; then `of` is given no rows but their ids and places in it (`PLACE`), so that
    nothing of an utterance is copied which is kept already.
    """

    def __init__(self, most_bytes: int = KEPT_BYTES, whole: pa.Table | None = None):
        self.most_bytes = most_bytes
        self.whole = whole
        self.kept: dict[str, Utterance] = {}
        self.kept_bytes = 0

    def of(self, rows: pa.Table) -> Iterator[tuple[str, Utterance]]:
        """Id and utterance of each row. Safe to call from several threads: the worst is that one is decoded twice."""
        for number, id in enumerate(rows["utterance_id"].to_pylist()):
            if (utterance := self.kept.get(id)) is None:
                row = rows.slice(number, 1) if self.whole is None else self.whole.slice(rows[PLACE][number].as_py(), 1)
                utterance = self._read(id, row.to_pylist()[0])
            yield id, utterance

    def _read(self, id: str, row: dict) -> Utterance:
        whole = self.kept_bytes + 2 * row["speech_samples"] <= self.most_bytes
        utterance = Utterance(
            samples=row["speech_samples"],
            flac=b"" if whole else row["speech_flac"],
            speech_T=decode_flac(row["speech_flac"]) if whole else None,
            frame_indices_N=np.array(row["frame_indices"]),
            frame_logits_NE=np.array(row["frame_logits"], np.float32),
        )
        if whole:
            self.kept[id] = utterance
            self.kept_bytes += 2 * row["speech_samples"]
        return utterance


class DrawWindows:
    """Rows -> {"speech": int16 (B, 64384), "target": float32 (B, 8)}, `windows` entries for each row.

    A draw depends on the seed, the pass and the utterance only.
    """

    def __init__(self, draw: WindowDraw, pass_index: int, utterances: Utterances | None = None):
        self.draw = draw
        self.pass_index = pass_index
        self.utterances = utterances or Utterances()

    def __call__(self, rows: pa.Table) -> dict[str, torch.Tensor]:
        drawn = [pair for id, utterance in self.utterances.of(rows) for pair in self._of_utterance(id, utterance)]
        speech_BT, target_BE = (np.stack(values) for values in zip(*drawn, strict=True))
        return {"speech": torch.from_numpy(speech_BT), "target": torch.from_numpy(target_BE.astype(np.float32))}

    def _of_utterance(self, id: str, utterance: Utterance) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng((self.draw.seed, self.pass_index, zlib.crc32(id.encode())))
        frames = utterance.frame_indices_N
        for _ in range(self.draw.windows):
            start = draw_window(rng, utterance.samples, frames)
            target_E = pool_logits(utterance.frame_logits_NE, frames, *window_span(start), how=self.draw.pooling)
            yield utterance.window(start, self.draw.padding), target_E
