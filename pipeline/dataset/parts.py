"""How a manifest is cut into parts, and what they are called.

A part is one parquet file, written in one go, of at most `part_rows` utterances. Parts are cut from the manifest in the
order of its files and depend on the manifest alone where it is large: a run that goes on finds its parts again by their
names.
"""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PART_ROWS = 32
"""Utterances in a part: 32 x 33 crops fill a teacher batch and, at 224 px in colour, 160 MB; with 8 s of FLAC each a part is
5 MB on storage."""

LARGE_PART_ROWS = 128
"""The same for a large manifest and small crops. What the driver does and keeps is by the part, and so are a store's requests;
a stop loses the part that each worker is at, a minute or two of its work, and those that wait for a teacher elsewhere."""

LARGE_MANIFEST = 100_000
"""Utterances from which a manifest is large: VoxCeleb1 and 2 are."""

MAX_PART_BYTES = 160_000_000
"""A part is held, and travels to a teacher elsewhere, whole: its crops together take no more, at `USUAL_FRAMES` an utterance."""

USUAL_FRAMES = 33
"""Frames of an utterance of 8 s at 0.24 s a frame."""


def part_rows(manifest_rows: int, crop_bytes: int) -> int:
    """The most utterances in a part of a manifest of `manifest_rows`; `crop_bytes`: of one face crop of the teacher."""
    fits = LARGE_PART_ROWS * USUAL_FRAMES * crop_bytes <= MAX_PART_BYTES
    return LARGE_PART_ROWS if manifest_rows >= LARGE_MANIFEST and fits else PART_ROWS


def part_name(utterance_ids: Iterable[str]) -> str:
    """File name of the part that holds these utterances, in whatever order."""
    return f"part-{hashlib.sha256(chr(10).join(sorted(utterance_ids)).encode()).hexdigest()[:20]}.parquet"


def cut_parts(manifest: pa.Table, rows: int = PART_ROWS, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The manifest in parts of at most `rows`; a file's utterances are split only where they are more than a part.

    columns: those that are wanted of a part; left out: all.
    """
    row_indices = part_row_indices(manifest, rows)
    manifest = manifest.select(columns or manifest.column_names)
    # one take of all: one by one it takes twenty times as long
    ordered = manifest.take(np.concatenate(row_indices)) if row_indices else manifest
    start = 0
    for part in row_indices:
        yield ordered.slice(start, len(part))
        start += len(part)


def part_row_indices(manifest: pa.Table, rows: int) -> list[np.ndarray]:
    """For each part, at which rows of the manifest its utterances are."""
    order = pc.sort_indices(manifest, [(name, "ascending") for name in ("video_uri", "start_s", "utterance_id")])
    order = order.to_numpy()
    uris = manifest["video_uri"].combine_chunks().dictionary_encode().indices.to_numpy()[order]
    file_starts = np.append(0, np.flatnonzero(np.diff(uris)) + 1)
    cuts = [0]
    while (start := cuts[-1]) < len(order):
        end = min(start + rows, len(order))
        if end < len(order):
            file_start = int(file_starts[np.searchsorted(file_starts, end, side="right") - 1])
            end = file_start if file_start > start else end
        cuts.append(end)
    return np.split(order, cuts[1:-1]) if len(order) else []
