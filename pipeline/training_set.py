"""From a distillation set to batches of speech windows and their targets, for Ray Train and for one process alike.

A row is an utterance. Its windows are drawn when a batch is made, each together with its target: the element-wise
maximum of the logits of the frames inside the window. A draw depends on the seed, the pass and the utterance only, so
it is the same for any number of workers.
"""

import itertools
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray.data
import torch
from ray.data import DataIterator, FileShuffleConfig
from ray.data.collate_fn import ArrowBatchCollateFn
from ray.data.expressions import Expr, col

from cluster import storage
from cluster.failures import UserError
from modeling.soft_targets import draw_window, pool_logits, window_of, window_span
from pipeline.distillation_set import part_uris, read_labels
from pipeline.speech import decode_flac

WINDOW_COLUMNS = ["utterance_id", "speech_flac", "frame_indices", "frame_logits"]

FILTER_COLUMNS = ["split", "reject_reason", "speech_samples"]

SHUFFLE_BATCHES = 8
"""Local shuffle buffer in batches; below 2 Ray can give ranks unequal numbers of batches (ray issue 66085)."""


def usable_rows(labels_uri: str, split: str) -> int:
    """How many utterances of the split are labelled and have speech. Raises UserError if there are none."""
    table = read_labels(labels_uri, ["split", "reject_reason", "speech_samples", "teacher"])
    rows = table.filter(USABLE & (pc.field("split") == split))
    teachers = pc.unique(rows["teacher"]).to_pylist()
    if not len(rows):
        have = dict(Counter(table["split"].to_pylist()))
        raise UserError(
            f"{labels_uri}: no labelled utterance with speech in split {split!r}; utterances by split: {have}"
        )
    if len(teachers) > 1:
        raise UserError(
            f"{labels_uri}: labels of several teachers {teachers} are mixed; label again into an empty folder"
        )
    return len(rows)


USABLE = pc.field("reject_reason").is_null() & (pc.field("speech_samples") > 0)
"""Utterances that a student can learn from or be scored on: labelled, and with speech. For a pyarrow table."""


def usable() -> Expr:
    """The same as `USABLE`, for a Ray dataset."""
    return col("reject_reason").is_null() & (col("speech_samples") > 0)


def labelled_utterances(labels_uri: str, split: str, columns: list[str], seed: int = 0) -> ray.data.Dataset:
    """The labelled utterances of a split that have speech, read part by part in an order given by the seed."""
    shuffle = FileShuffleConfig(seed=seed, reseed_after_execution=False)
    return read_utterances(labels_uri, columns, usable() & (col("split") == split), shuffle)


def read_utterances(
    labels_uri: str, columns: list[str], wanted: Expr, shuffle: FileShuffleConfig | None = None
) -> ray.data.Dataset:
    """Some columns of the wanted rows of a set; Ray reads no other columns and prunes parts by their statistics."""
    fs, _ = storage.resolve(labels_uri)
    paths = [storage.resolve(uri)[1] for uri in part_uris(labels_uri)]
    read = list(dict.fromkeys([*columns, *FILTER_COLUMNS]))
    return (
        ray.data.read_parquet(paths, filesystem=fs, shuffle=shuffle)
        .select_columns(read)
        .filter(expr=wanted)
        .select_columns(columns)
    )


@dataclass(frozen=True, kw_only=True)
class WindowDraw:
    """How windows are drawn: `windows` from each utterance of a batch; `pooling` of frame logits is max or mean."""

    windows: int
    pooling: str
    seed: int


class DrawWindows(ArrowBatchCollateFn):
    """Rows -> {"speech": int16 (B, 64384), "target": float32 (B, 8)}, `windows` entries for each row."""

    def __init__(self, draw: WindowDraw, pass_index: int):
        self.draw = draw
        self.pass_index = pass_index

    def __call__(self, rows: pa.Table) -> dict[str, torch.Tensor]:
        drawn = [pair for row in rows.to_pylist() for pair in self._of_utterance(row)]
        speech_BT, target_BE = (np.stack(values) for values in zip(*drawn, strict=True))
        return {"speech": torch.from_numpy(speech_BT), "target": torch.from_numpy(target_BE.astype(np.float32))}

    def _of_utterance(self, row: dict) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rng = np.random.default_rng((self.draw.seed, self.pass_index, zlib.crc32(row["utterance_id"].encode())))
        speech_T = decode_flac(row["speech_flac"])
        frame_indices_N = np.array(row["frame_indices"])
        frame_logits_NE = np.array(row["frame_logits"], np.float32)
        for _ in range(self.draw.windows):
            start = draw_window(rng, len(speech_T), frame_indices_N)
            target_E = pool_logits(frame_logits_NE, frame_indices_N, *window_span(start), how=self.draw.pooling)
            yield window_of(speech_T, start), target_E


def window_batches(
    rows: DataIterator, draw: WindowDraw, batch_size: int, utterances: int, drop_last: bool, first_batch: int = 0
) -> Iterator[dict[str, torch.Tensor]]:
    """An endless stream of batches of `batch_size` windows, pass after pass over the utterances, each in a new order.

    utterances: how many rows a pass has for this worker; first_batch: where a resumed training goes on in the stream.
    """
    rows_per_batch = max(1, batch_size // draw.windows)
    batches_per_pass = max(1, utterances // rows_per_batch if drop_last else -(-utterances // rows_per_batch))
    pass_index, done = divmod(first_batch, batches_per_pass)
    while True:
        batches = rows.iter_torch_batches(
            batch_size=rows_per_batch,
            collate_fn=DrawWindows(draw, pass_index),
            prefetch_batches=2,
            local_shuffle_buffer_size=SHUFFLE_BATCHES * rows_per_batch,
            local_shuffle_seed=draw.seed + pass_index,
            drop_last=drop_last,
        )
        yield from itertools.islice(batches, done, None)
        pass_index, done = pass_index + 1, 0
