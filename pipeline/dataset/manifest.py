"""The manifest: one row per utterance, in one parquet file. `pipeline/schema.py` defines the columns."""

import hashlib
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from cluster import storage
from cluster.failures import UserError
from pipeline.dataset.array_hash import hash_array
from pipeline.schema import MANIFEST_SCHEMA, MANIFEST_VERSION, SPLITS

REQUIRED_COLUMNS = ("utterance_id", "speaker_id", "video_id", "video_uri", "audio_uri", "start_s", "split")
BOX_UNITS = ("pixels", "relative")


def read_manifest(uri: str) -> pa.Table:
    """The manifest at `uri`, with the columns and types of MANIFEST_SCHEMA.

    The file may be made by other programs: REQUIRED_COLUMNS are enough, the other columns become null, and unknown columns
    are ignored. Raises UserError for a missing file, another schema version, and everything that `check_manifest` refuses.
    """
    if not storage.exists(uri):
        raise UserError(f"{uri}: there is no manifest; make one with `emovox index`")
    table = storage.read_table(uri)
    _check_kind(table.schema.metadata or {}, uri)
    columns = []
    for name in (table := as_manifest(table, uri)).column_names:
        columns.append(table[name].combine_chunks())  # taking rows from many chunks is slow
        table = table.drop_columns(name)  # so that at most one column is in memory twice
    table = pa.table(columns, schema=MANIFEST_SCHEMA)
    if table["audio_uri"].equals(table["video_uri"]):  # the usual case; saves a quarter of a manifest's memory
        index = MANIFEST_SCHEMA.get_field_index("audio_uri")
        table = table.set_column(index, MANIFEST_SCHEMA.field(index), table["video_uri"])
    check_manifest(table, uri)
    pa.default_memory_pool().release_unused()  # decoding and sorting took as much memory as the manifest
    return table


def write_manifest(table: pa.Table, uri: str) -> None:
    """Checks the table and writes it as one parquet file, all or nothing."""
    table = as_manifest(table, uri)
    check_manifest(table, uri)
    storage.write_table(uri, table)


def _check_kind(metadata: Mapping[bytes, bytes], uri: str) -> None:
    kind = metadata.get(b"emovox.table", b"manifest").decode()
    if kind != "manifest":
        raise UserError(f"{uri}: this is a {kind}, not a manifest; give the file that `emovox index` wrote")
    version = metadata.get(b"emovox.schema_version", MANIFEST_VERSION.encode()).decode()
    if version != MANIFEST_VERSION:
        raise UserError(
            f"{uri}: manifest of schema version {version}, this program reads version {MANIFEST_VERSION}; "
            "make it again with `emovox index`"
        )


def as_manifest(columns: pa.Table | Mapping[str, Sequence], uri: str) -> pa.Table:
    """The columns cast to MANIFEST_SCHEMA; absent optional ones become null. `uri`: for the message of a UserError."""
    table = _as_table(columns)
    missing = [name for name in REQUIRED_COLUMNS if name not in table.column_names]
    if missing:
        raise UserError(f"{uri}: the manifest has no column {', '.join(missing)}; add it, or run `emovox index`")
    arrays = []
    for field in MANIFEST_SCHEMA:
        if field.name not in table.column_names:
            arrays.append(pa.nulls(len(table), field.type))
            continue
        try:
            arrays.append(table[field.name].cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
            found = table[field.name].type
            raise UserError(
                f"{uri}: column {field.name} holds {found}, expected {field.type} ({error}); write it with that type"
            ) from error
    return pa.Table.from_arrays(arrays, schema=MANIFEST_SCHEMA)


def _as_table(columns: pa.Table | Mapping[str, Sequence]) -> pa.Table:
    return columns if isinstance(columns, pa.Table) else pa.table(dict(columns))


def check_manifest(table: pa.Table, uri: str) -> None:
    """Raises a UserError that names the file, a row and the value if a manifest's rows are wrong or contradict each other."""
    if not len(table):
        raise UserError(f"{uri}: the manifest has no rows; run `emovox index` on a folder with videos")
    for name in REQUIRED_COLUMNS:
        if table[name].null_count:
            raise UserError(f"{uri}: column {name} is empty in {table[name].null_count} rows; fill it in every row")
    _check_unique(table, uri)
    start, end = table["start_s"], table["end_s"]
    bad_start = pc.invert(pc.and_(pc.is_finite(start), pc.greater_equal(start, 0)))
    _refuse(table, bad_start, "start_s", "give seconds from the beginning of the file, 0 or more", uri)
    bad_end = pc.invert(pc.and_(pc.is_finite(end), pc.greater(end, start)))
    _refuse(table, bad_end, "end_s", "give a time after start_s, or null for the end of the file", uri)
    unknown = pc.invert(pc.is_in(table["split"], pa.array(SPLITS)))
    _refuse(table, unknown, "split", f"use one of {', '.join(SPLITS)}", uri)
    bad_context = pc.invert(pc.greater_equal(table["face_context"], 1))
    _refuse(table, bad_context, "face_context", "give 1 or more, or null for whole scenes", uri)
    known_unit = pc.fill_null(pc.is_in(table["face_boxes_unit"], pa.array(BOX_UNITS)), False)
    no_unit = pc.and_(pc.is_valid(table["face_boxes"]), pc.invert(known_unit))
    _refuse(table, no_unit, "face_boxes_unit", f"say {' or '.join(BOX_UNITS)} wherever face_boxes is given", uri)
    _check_unheard(table, uri)


def _check_unique(table: pa.Table, uri: str) -> None:
    ids = table["utterance_id"]
    in_order = ids.take(pc.sort_indices(ids))  # counting with a hash table takes ten times the memory
    if pc.any(pc.equal(in_order[1:], in_order[:-1])).as_py():
        counts = ids.value_counts()
        repeated = counts.filter(pc.greater(counts.field("counts"), 1))
        raise UserError(
            f"{uri}: utterance_id {repeated[0]['values'].as_py()!r} stands in {repeated[0]['counts'].as_py()} rows "
            f"({len(repeated)} such ids); give each utterance its own id"
        )


def _check_unheard(table: pa.Table, uri: str) -> None:
    is_unheard = pc.equal(table["split"], "unheard")
    unheard = pc.unique(table["speaker_id"].filter(is_unheard))
    elsewhere = table.filter(pc.and_(pc.invert(is_unheard), pc.is_in(table["speaker_id"], unheard)))
    if len(elsewhere):
        row = elsewhere.slice(0, 1).to_pylist()[0]
        raise UserError(
            f"{uri}: speaker {row['speaker_id']!r} is in split unheard and also in {row['split']!r} (utterance "
            f"{row['utterance_id']!r}); an unheard speaker may be in no other split"
        )


def _refuse(table: pa.Table, is_bad: pa.ChunkedArray, column: str, remedy: str, uri: str) -> None:
    """Raises UserError for the first row where `is_bad` is true; null counts as good."""
    bad = table.filter(pc.fill_null(is_bad, False))
    if len(bad):
        row = bad.slice(0, 1).to_pylist()[0]
        raise UserError(
            f"{uri}: utterance {row['utterance_id']!r} has {column} {row[column]!r} ({len(bad)} such rows); {remedy}"
        )


def manifest_fingerprint(table: pa.Table) -> str:
    """sha256 (hex) over the content of a manifest; the order of its rows and its storage do not matter."""
    order = pc.sort_indices(table["utterance_id"])
    digest = hashlib.sha256()
    for field in MANIFEST_SCHEMA:
        digest.update(f"{field.name}:{field.type}".encode())
        hash_array(digest.update, table[field.name].take(order).combine_chunks())
    pa.default_memory_pool().release_unused()
    return digest.hexdigest()
