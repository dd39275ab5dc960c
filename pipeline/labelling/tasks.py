"""How a manifest is cut into tasks, and how a task passes through the plan.

A task is what a cropping worker gets at a time: a few parts (`pipeline/dataset/parts.py`), cut in the order of the
manifest's files, so that only one task opens a file.

In the plan a part is one row, its table packed as Arrow IPC, because Ray Data splits and merges blocks by their bytes but
never splits a row.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster import storage
from pipeline.dataset.parts import PART_ROWS, part_row_indices

TASKS_PER_WORKER = 8
"""Minimum number of tasks per cropping worker, so that none is idle for long while another has a large one. A manifest with
fewer utterances per worker than this times PART_ROWS is cut into smaller parts."""

MAX_TASK_ROWS = 256
"""Most utterances per task, for a manifest that has many for every worker; large, because Ray's own cost is per task. When a
worker dies, the next one repeats its task from the beginning; parts that are already written stay meanwhile."""


def cut_tasks(
    manifest: pa.Table, todo: pa.Table, *, workers: int, rows: int = PART_ROWS
) -> Iterator[tuple[pa.Table, list[int]]]:
    """The rows of `todo`, a subset of `manifest`, in tasks; each with the sizes of its parts, at most `rows`.

    Parts of one file on an object store are in one task, so it is fetched once; a local file may be split over several.
    """
    manifest = manifest.combine_chunks()  # taking rows from many chunks is slow
    enough = workers * TASKS_PER_WORKER
    rows = int(np.clip(-(-len(manifest) // enough), 1, rows))
    is_todo = pc.is_in(manifest["utterance_id"], value_set=todo["utterance_id"].combine_chunks()).to_numpy()
    left = [indices[is_todo[indices]] for indices in part_row_indices(manifest, rows)]
    left = [indices for indices in left if len(indices)]
    size = int(np.clip(len(left) // enough, 1, max(1, MAX_TASK_ROWS // rows)))
    task: list[np.ndarray] = []
    for indices in left:
        if len(task) >= size and not _are_of_one_remote_file(manifest, int(task[-1][-1]), int(indices[0])):
            yield manifest.take(np.concatenate(task)), [len(part) for part in task]
            task = []
        task.append(indices)
    if task:
        yield manifest.take(np.concatenate(task)), [len(part) for part in task]


def _are_of_one_remote_file(manifest: pa.Table, before: int, after: int) -> bool:
    """Whether two rows, given by their indices, are of one file on an object store."""
    uri = manifest["video_uri"][after].as_py()
    return manifest["video_uri"][before].as_py() == uri and not storage.is_local(uri)


def packed(rows: pa.Table, sizes: list[int], compression: str = "lz4") -> pa.Table:
    """Packs parts into one row: `rows`, all their rows as Arrow IPC, and `sizes`, the number of rows of each part.

    compression: "lz4" is almost free, for pictures; "zstd" halves text that waits in the driver's memory.
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
    """The inverse of `packed`: all rows, and the sizes of the parts."""
    with pa.ipc.open_stream(row["rows"][0].as_buffer()) as stream:
        return stream.read_all(), row["sizes"][0].as_py()


def regrouped(tables: Iterable[pa.Table], sizes: list[int]) -> Iterator[pa.Table]:
    """The rows of the tables, in order, as tables of the given sizes; yields each as soon as it is full."""
    waiting: list[pa.Table] = []
    sizes = list(sizes)
    for table in tables:
        waiting.append(table)
        while sizes and sum(map(len, waiting)) >= sizes[0]:
            rows = pa.concat_tables(waiting)
            size = sizes.pop(0)
            yield rows.slice(0, size)
            waiting = [rows.slice(size)]
