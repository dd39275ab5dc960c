"""From rows of a distillation set to windows of speech and their targets.

Shape letters: T samples, N labelled frames, E = 8 emotions, B windows per batch.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from cluster.budget import GIB
from modeling.distillation.baseline import SpeakerBaseline
from modeling.distillation.targets import draw_window, pool_logits, window_of, window_span
from modeling.sampling import WINDOW_SAMPLES
from pipeline.distillation.speech_memory import KEPT_GIB, SAMPLE_BYTES
from pipeline.media.flac import decode_flac

WINDOW_COLUMNS = ["utterance_id", "speaker_id", "speech_samples", "speech_flac", "frame_indices", "frame_logits"]


@dataclass(frozen=True, kw_only=True)
class WindowSampling:
    """How windows are drawn. windows: per utterance of a batch; pooling of frame logits and padding of short speech: as in
    `modeling.distillation.targets`."""

    windows: int
    pooling: str
    seed: int
    padding: str = "zeros"


@dataclass(frozen=True)
class Utterance:
    """An utterance to draw windows from. speech_T: all of its speech, int16; None: each window is decoded from `flac`."""

    id: str
    samples: int
    flac: bytes
    speech_T: np.ndarray | None
    frame_indices_N: np.ndarray
    frame_logits_NE: np.ndarray

    def window(self, start: int, padding: str) -> np.ndarray:
        """The same as `modeling.distillation.targets.window_of` on the whole speech."""
        if self.speech_T is None:
            return window_of(decode_flac(self.flac, start, WINDOW_SAMPLES), 0, padding)
        return window_of(self.speech_T[start : start + WINDOW_SAMPLES], 0, padding)


class Row(NamedTuple):
    """An utterance that may still have to be read: its number in the set, and row `at` of a table with `WINDOW_COLUMNS`. table
    is None if the utterance is kept in memory."""

    number: int
    table: pa.Table | None
    at: int


class Utterances:
    """Rows as they are drawn from. The first `kept_gib` of speech that come by are decoded once and kept. baseline: what is taken
    off the logits of each speaker's frames, if anything.

    Threads may share it: at worst an utterance is read or decoded twice, or slightly more speech is kept.
    """

    def __init__(self, kept_gib: float = KEPT_GIB, baseline: SpeakerBaseline | None = None):
        self.baseline = baseline
        self.most_bytes = kept_gib * GIB
        self.kept: dict[int, Utterance] = {}
        self.kept_bytes = 0

    def rows(self, numbers_M: np.ndarray, read: Callable[[np.ndarray], pa.Table]) -> list[Row]:
        """The rows of the utterances with these numbers; calls `read` for those that are not kept, if any."""
        numbers = numbers_M.tolist()
        lacking = [number for number in numbers if number not in self.kept]
        table = read(np.array(lacking)) if lacking else None
        at = {number: row for row, number in enumerate(lacking)}
        return [Row(number, table, at[number]) if number in at else Row(number, None, 0) for number in numbers]

    def of(self, rows: Iterable[Row]) -> Iterator[Utterance]:
        for row in rows:
            yield self.kept.get(row.number) or self._read(row)

    def _read(self, place: Row) -> Utterance:
        if place.table is None:
            raise KeyError(f"utterance {place.number} is not kept any more and has no table to be read from")
        row = place.table.slice(place.at, 1).to_pylist()[0]
        whole = self.kept_bytes + SAMPLE_BYTES * row["speech_samples"] <= self.most_bytes
        utterance = Utterance(
            id=row["utterance_id"],
            samples=row["speech_samples"],
            flac=b"" if whole else row["speech_flac"],
            speech_T=decode_flac(row["speech_flac"]) if whole else None,
            frame_indices_N=np.array(row["frame_indices"]),
            frame_logits_NE=self._frame_logits(row),
        )
        if whole:
            self.kept[place.number] = utterance
            self.kept_bytes += SAMPLE_BYTES * row["speech_samples"]
        return utterance

    def _frame_logits(self, row: dict) -> np.ndarray:
        logits_NE = np.array(row["frame_logits"], np.float32)
        return logits_NE if self.baseline is None else logits_NE - self.baseline.offset(row["speaker_id"])


class WindowSampler:
    """Utterances -> {"speech": int16 (B, 64384), "target": float32 (B, 8)}, `windows` entries for each.

    A draw depends only on the seed, the pass and the utterance.
    """

    def __init__(self, draw: WindowSampling, pass_index: int):
        self.draw = draw
        self.pass_index = pass_index

    def __call__(self, utterances: Iterable[Utterance]) -> dict[str, torch.Tensor]:
        drawn = [pair for utterance in utterances for pair in self._of_utterance(utterance)]
        speech_BT, target_BE = (np.stack(values) for values in zip(*drawn, strict=True))
        return {"speech": torch.from_numpy(speech_BT), "target": torch.from_numpy(target_BE.astype(np.float32))}

    def _of_utterance(self, utterance: Utterance) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng((self.draw.seed, self.pass_index, zlib.crc32(utterance.id.encode())))
        frames = utterance.frame_indices_N
        for _ in range(self.draw.windows):
            start = draw_window(rng, utterance.samples, frames)
            target_E = pool_logits(utterance.frame_logits_NE, frames, *window_span(start), how=self.draw.pooling)
            if target_E is None:
                raise ValueError(f"{utterance.id}: the window drawn at sample {start} holds no labelled frame")
            yield utterance.window(start, self.draw.padding), target_E
