"""Faces and speech of some utterances, read from the few parts that hold them."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.distillation_set import READ_THREADS
from pipeline.dataset.label_set import LabelSet
from pipeline.dataset.part_file import read_part_file

SHOWN_COLUMNS = ["utterance_id", "thumbnails", "speech_flac"]


@dataclass(frozen=True)
class Shown:
    """thumbnails: JPEGs, none where the set keeps none; speech_flac: None for an utterance without speech."""

    thumbnails: tuple[bytes, ...] = ()
    speech_flac: bytes | None = None


def read_shown(rows: LabelSet, utterance_ids: Iterable[str]) -> dict[str, Shown]:
    """By utterance id; only of those that the set has."""
    wanted = pa.array(list(utterance_ids), pa.string())
    places = rows.table.filter(pc.is_in(rows.table["utterance_id"], value_set=wanted)).select(["part", "row"])
    of_part: dict[int, list[int]] = {}
    for part, row in zip(*(places[name].to_pylist() for name in ("part", "row")), strict=True):
        of_part.setdefault(part, []).append(row)

    def read(part: int) -> list[dict]:
        stored = rows.parts[part]
        table = read_part_file(stored.uri, SHOWN_COLUMNS, seal=stored.seal).table
        return table.take(np.array(of_part[part])).to_pylist()

    with ThreadPoolExecutor(READ_THREADS) as pool:
        found = [row for rows_of_part in pool.map(read, of_part) for row in rows_of_part]
    return {row["utterance_id"]: Shown(tuple(row["thumbnails"] or ()), row["speech_flac"] or None) for row in found}
