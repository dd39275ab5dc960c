"""How a manifest is cut into parts, and how parts are named.

A part is one parquet file of at most `part_rows` utterances, written in one go. Parts follow the order of the manifest's
files. For a large manifest they depend on nothing but the manifest, so a resumed run recognises its parts by their names.
"""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

PART_ROWS = 32
"""Utterances per part. 32 x 33 crops fill a teacher batch and, at 224 px in colour, 160 MB; with 8 s of FLAC per utterance, a
part takes 5 MB on storage."""

LARGE_PART_ROWS = 128
"""Utterances per part for a large manifest and small crops. The driver's work and memory and the requests to a store grow with
the number of parts. A stop loses each worker's current part, a minute or two of its work, and the parts that wait for a
separate teacher."""

LARGE_MANIFEST = 100_000
"""A manifest with at least this many utterances is large; those of VoxCeleb1 and 2 are."""

MAX_PART_BYTES = 160_000_000
"""Most bytes of a part's crops, at `USUAL_FRAMES` per utterance. A part is in memory as a whole, and goes to a separate
teacher as a whole."""

USUAL_FRAMES = 33
"""Frames of an utterance of 8 s, one every 0.24 s."""


def part_rows(manifest_rows: int, crop_bytes: int) -> int:
    """Most utterances per part for a manifest of `manifest_rows`; `crop_bytes`: size of one face crop for the teacher."""
    fits = LARGE_PART_ROWS * USUAL_FRAMES * crop_bytes <= MAX_PART_BYTES
    return LARGE_PART_ROWS if manifest_rows >= LARGE_MANIFEST and fits else PART_ROWS


def part_name(utterance_ids: Iterable[str]) -> str:
    """File name of the part with these utterances; their order does not matter."""
    return f"part-{hashlib.sha256(chr(10).join(sorted(utterance_ids)).encode()).hexdigest()[:20]}.parquet"


def cut_parts(manifest: pa.Table, rows: int = PART_ROWS, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The manifest in parts of at most `rows`; the utterances of one file are split only if they do not fit into a part.

    columns: the columns of the parts; None: all.
    """
    row_indices = part_row_indices(manifest, rows)
    manifest = manifest.select(columns or manifest.column_names)
    # a single `take`; one per part is twenty times as slow
    ordered = manifest.take(np.concatenate(row_indices)) if row_indices else manifest
    start = 0
    for part in row_indices:
        yield ordered.slice(start, len(part))
        start += len(part)


def part_row_indices(manifest: pa.Table, rows: int) -> list[np.ndarray]:
    """For each part, the manifest rows of its utterances."""
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
