"""One part of a distillation set, as a file that records what was written into it.

The parquet metadata hold a digest of each column (`emovox.columns`) and the number of rows. A reader of some columns checks
those. So a value that was changed by hand is noticed where it would be used, at the cost of hashing what is read. The *seal*
of a part is a hash of all its digests except those of the columns with seconds of work: it stays the same if the part is
labelled again, and the set's record (`set_record.py`) keeps it.
"""

import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cluster import storage
from cluster.failures import UserError
from pipeline.dataset.array_hash import hash_array
from pipeline.schema import CONTENT_COLUMN, DISTILLATION_SCHEMA, SET_VERSION, WORK_COLUMNS

DIGESTS = b"emovox.columns"
DIGEST_DIGITS = 32
LEARNT_COLUMNS = ("speech_samples", "speech_flac", "frame_indices", "frame_logits")
"""What a student learns from; `CONTENT_COLUMN` holds a hash of them for each row."""


@dataclass(frozen=True)
class PartContent:
    """Some columns of a part, and what the file says about the whole part. seal: None for a part from before there were
    seals."""

    table: pa.Table
    rows: int
    seal: str | None


class ChangedPart(UserError):
    """A part differs from what was written."""


def changed(uri: str, what: str) -> ChangedPart:
    return ChangedPart(
        f"{uri}: {what}; the set was changed after it was written: put the file back, or delete it and give the command that "
        "wrote the set again, which makes it anew (`emovox verify` names all such parts)"
    )


def write_part_file(uri: str, rows: pa.Table) -> int:
    """Writes a part with its digests. Returns the bytes written."""
    if CONTENT_COLUMN in rows.column_names:
        at = rows.schema.get_field_index(CONTENT_COLUMN)
        rows = rows.set_column(at, rows.schema.field(at), content_hashes(rows))
    said = {"rows": len(rows), "columns": {name: _digest(rows[name]) for name in rows.column_names}}
    metadata = (rows.schema.metadata or {}) | {DIGESTS: json.dumps(said).encode()}
    return storage.write_table(uri, rows.replace_schema_metadata(metadata))


def read_part_file(uri: str, columns: list[str], *, seal: str | None = None, check: bool = True) -> PartContent:
    """Columns of one part; `CONTENT_COLUMN` is null if the part has none.

    seal: the part's seal in the set's record. check: whether to compare the columns with their digests. Raises UserError for
    another schema version, and ChangedPart.
    """
    fs, path = storage.resolve(uri)
    try:
        with storage.explained(uri, "read it"), fs.open_input_file(path) as source:
            file = pq.ParquetFile(source)
            metadata: dict[bytes, bytes] = file.schema_arrow.metadata or {}
            _require_version(metadata, uri)
            said: dict[str, Any] | None = json.loads(metadata[DIGESTS]) if DIGESTS in metadata else None
            found = PartContent(_table(file, columns), file.metadata.num_rows, None if said is None else _seal(said))
    except (pa.ArrowInvalid, json.JSONDecodeError) as error:
        raise changed(uri, f"it cannot be read ({str(error).partition(chr(10))[0]})") from error
    if seal is not None and found.seal != seal:
        raise changed(uri, "it is another than the one that the set's _parts.json tells of")
    if check and said is not None:
        _compare(found, said, columns, uri)
    return found


def _require_version(metadata: dict[bytes, bytes], uri: str) -> None:
    version = metadata.get(b"emovox.schema_version", b"none").decode()
    if version != SET_VERSION:
        raise UserError(f"{uri}: schema version {version}, this program reads {SET_VERSION}; label again")


def _table(file: pq.ParquetFile, columns: list[str]) -> pa.Table:
    """The columns without the digests, which belong to the file and to no other table."""
    there = [name for name in columns if name in file.schema_arrow.names]
    table = file.read(columns=there)
    if CONTENT_COLUMN in columns and CONTENT_COLUMN not in there:
        field = DISTILLATION_SCHEMA.field(CONTENT_COLUMN)
        table = table.append_column(field, pa.nulls(len(table), field.type))
    metadata = {key: value for key, value in (table.schema.metadata or {}).items() if key != DIGESTS}
    return table.select([name for name in columns if name in table.column_names]).replace_schema_metadata(metadata)


def _compare(found: PartContent, said: dict[str, Any], columns: list[str], uri: str) -> None:
    if found.rows != said["rows"]:
        raise changed(uri, f"it has {found.rows} rows and was written with {said['rows']}")
    for name in columns:
        if (digest := said["columns"].get(name)) is None:
            continue
        if name not in found.table.column_names:
            raise changed(uri, f"column {name} is missing")
        if _digest(found.table[name]) != digest:
            raise changed(uri, f"column {name} is not what was written")


def _digest(column: pa.ChunkedArray) -> str:
    if column.null_count == len(column):  # as many columns are, of rejects
        return _digest_of_nulls(column.type, len(column))
    whole = column.combine_chunks()
    return _digest_of(whole.chunks if isinstance(whole, pa.ChunkedArray) else [whole])


@functools.lru_cache
def _digest_of_nulls(of: pa.DataType, rows: int) -> str:
    return _digest_of([pa.nulls(rows, of)])


def _digest_of(arrays: Iterable[pa.Array]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        hash_array(digest.update, array)
    return digest.hexdigest()[:DIGEST_DIGITS]


def _seal(said: dict[str, Any]) -> str:
    lasting = {name: digest for name, digest in said["columns"].items() if name not in WORK_COLUMNS}
    content = json.dumps({"rows": said["rows"], "columns": lasting}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def content_hashes(rows: pa.Table) -> pa.Array:
    """For each row, the first hex digits of a hash of its `LEARNT_COLUMNS`; null if it has no speech or no labels."""
    samples_N, flac_N, indices_N, logits_N = (rows[name].combine_chunks() for name in LEARNT_COLUMNS)
    learnt_N = pc.and_(pc.is_valid(flac_N), pc.is_valid(logits_N)).to_pylist()
    if not any(learnt_N):
        return pa.nulls(len(rows), pa.string())
    frames = [_bytes_of_rows(indices_N), _bytes_of_rows(logits_N)]
    hashes = [
        hashlib.sha256(b"".join((str(samples_N[n]).encode(), *(each[n] for each in frames), flac_N[n].as_buffer())))
        for n, is_learnt in enumerate(learnt_N)
        if is_learnt
    ]
    digits = iter(found.hexdigest()[:DIGEST_DIGITS] for found in hashes)
    return pa.array([next(digits) if is_learnt else None for is_learnt in learnt_N], pa.string())


def _bytes_of_rows(lists: pa.Array) -> list[bytes]:
    """The values of each row of a column of lists, or of lists of lists."""
    ends_N = np.cumsum(pc.list_value_length(lists).fill_null(0).to_numpy())
    values = lists.flatten()
    if pa.types.is_list(values.type):
        ends = np.append(0, np.cumsum(pc.list_value_length(values).fill_null(0).to_numpy()))
        ends_N, values = ends[ends_N], values.flatten()
    content, width = values.fill_null(0).to_numpy().tobytes(), values.type.bit_width // 8
    starts_N = np.append(0, ends_N[:-1])
    return [content[start * width : end * width] for start, end in zip(starts_N, ends_N, strict=True)]
