"""How a manifest is cut, and how the pieces travel through the plan.

A part is what goes to storage in one write, at most `part_rows` utterances; a task is what one cropping worker is
handed at a time, a few parts. Both are cut from the manifest in the order of its files, so that a file is opened by one
task, and both depend on the manifest alone where it is large: a run that goes on finds its parts again by their names.

On the way a part is one row, its table packed as Arrow IPC: Ray Data cuts and merges blocks by their bytes, but never a row.
"""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster import storage

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

TASKS_PER_WORKER = 8
"""At least so many tasks for each cropping worker, so that none is idle for long while another holds a large one. A manifest
of fewer than this times PART_ROWS utterances a worker has smaller parts for it."""

MAX_TASK_ROWS = 256
"""Utterances of a task, for a manifest that gives every worker many: Ray's own cost is by the task. What is lost with a
worker is its task, which the next one does again from its beginning; parts of it that were written already stay meanwhile."""


def part_rows(manifest_rows: int, crop_bytes: int) -> int:
    """The most utterances in a part of a manifest of so many; `crop_bytes`: of one face crop of the teacher."""
    fits = LARGE_PART_ROWS * USUAL_FRAMES * crop_bytes <= MAX_PART_BYTES
    return LARGE_PART_ROWS if manifest_rows >= LARGE_MANIFEST and fits else PART_ROWS


def part_name(utterance_ids: Iterable[str]) -> str:
    """File name of the part that holds these utterances, in whatever order."""
    return f"part-{hashlib.sha256(chr(10).join(sorted(utterance_ids)).encode()).hexdigest()[:20]}.parquet"


def cut_parts(manifest: pa.Table, rows: int = PART_ROWS, columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The manifest in parts of at most `rows`; a file's utterances are split only where they are more than a part.

    columns: those that are wanted of a part; left out: all.
    """
    places = _part_places(manifest, rows)
    manifest = manifest.select(columns or manifest.column_names)
    ordered = manifest.take(np.concatenate(places)) if places else manifest  # one by one it takes twenty times as long
    start = 0
    for part in places:
        yield ordered.slice(start, len(part))
        start += len(part)


def _part_places(manifest: pa.Table, rows: int) -> list[np.ndarray]:
    """The places in the manifest of each part's utterances."""
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


def cut_tasks(
    manifest: pa.Table, todo: pa.Table, workers: int, rows: int = PART_ROWS
) -> Iterator[tuple[pa.Table, list[int]]]:
    """The rows of `todo`, a subset of `manifest`, in tasks; each with the sizes of its parts, of at most `rows`.

    Parts of one file on an object store are in one task, which fetches it once; a local file may be split over several.
    """
    manifest = manifest.combine_chunks()  # rows of many chunks are slow to pick out
    enough = workers * TASKS_PER_WORKER
    rows = int(np.clip(-(-len(manifest) // enough), 1, rows))
    is_todo = pc.is_in(manifest["utterance_id"], value_set=todo["utterance_id"].combine_chunks()).to_numpy()
    left = [places[is_todo[places]] for places in _part_places(manifest, rows)]
    left = [places for places in left if len(places)]
    size = int(np.clip(len(left) // enough, 1, max(1, MAX_TASK_ROWS // rows)))
    task: list[np.ndarray] = []
    for places in left:
        if len(task) >= size and not _share_remote_file(manifest, int(task[-1][-1]), int(places[0])):
            yield manifest.take(np.concatenate(task)), [len(part) for part in task]
            task = []
        task.append(places)
    if task:
        yield manifest.take(np.concatenate(task)), [len(part) for part in task]


def _share_remote_file(manifest: pa.Table, before: int, after: int) -> bool:
    uri = manifest["video_uri"][after].as_py()
    return manifest["video_uri"][before].as_py() == uri and not storage.is_local(uri)


def packed(rows: pa.Table, sizes: list[int], compression: str = "lz4") -> pa.Table:
    """Parts as one row: `rows`, all their rows as Arrow IPC, and `sizes`, how many are in each.

    compression: "lz4" costs next to nothing for pictures; "zstd" halves what waits, text, in the driver's memory.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as stream:
        stream.write_table(rows)
    content = sink.getvalue()
    column = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), 1, [None, pa.py_buffer(np.array([0, content.size], np.int64)), content]
    )
    return pa.table({"rows": column, "sizes": pa.array([sizes], pa.list_(pa.int32()))})


def unpacked(row: pa.Table) -> tuple[pa.Table, list[int]]:
    """What `packed` was given: all rows, and the sizes of the parts."""
    with pa.ipc.open_stream(row["rows"][0].as_buffer()) as stream:
        return stream.read_all(), row["sizes"][0].as_py()


def regrouped(tables: Iterable[pa.Table], sizes: list[int]) -> Iterator[pa.Table]:
    """The rows of the tables, in their order, in tables of the given sizes; each as soon as it is full."""
    waiting: list[pa.Table] = []
    sizes = list(sizes)
    for table in tables:
        waiting.append(table)
        while sizes and sum(map(len, waiting)) >= sizes[0]:
            rows = pa.concat_tables(waiting)
            size = sizes.pop(0)
            yield rows.slice(0, size)
            waiting = [rows.slice(size)]
