"""The distillation set on storage: parquet parts written whole, an identity, resume, and the final audit.

OUT/identity.json       what decides the labels; a run with another identity is refused (`cluster/identity.py`)
OUT/utterances/*.parquet one part a block of utterances, named by their ids, so that a repeated write replaces itself
OUT/run.json            the record of the last run

A part is one atomic write (rename on disk, one PUT on an object store), so a reader never sees half a part, and the
utterances that are done are exactly those in the parts.
"""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cluster import storage
from cluster.failures import UserError
from pipeline.schema import DISTILLATION_SCHEMA, SCHEMA_VERSION

READ_THREADS = 16


def parts_folder(labels_uri: str) -> str:
    return storage.join(labels_uri, "utterances")


def write_part(labels_uri: str, rows: pa.Table) -> None:
    ids = sorted(rows["utterance_id"].to_pylist())
    name = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:20]
    storage.write_table(storage.join(parts_folder(labels_uri), f"part-{name}.parquet"), rows)


def part_uris(labels_uri: str) -> list[str]:
    """The committed parts; an empty list for a set that has none yet."""
    folder = parts_folder(labels_uri)
    return [file.uri for file in storage.list_files(folder, (".parquet",))] if storage.exists(folder) else []


def read_parts(labels_uri: str, columns: list[str]) -> list[tuple[str, pa.Table]]:
    """Some columns of each part and its URI, read without the others. Raises UserError for a set of another version."""

    def read(uri: str) -> tuple[str, pa.Table]:
        return uri, read_part(uri, columns)

    with ThreadPoolExecutor(READ_THREADS) as pool:
        return list(pool.map(read, part_uris(labels_uri)))


def read_part(uri: str, columns: list[str]) -> pa.Table:
    """Some columns of one part. Raises UserError if it is of another version."""
    fs, path = storage.resolve(uri)
    with fs.open_input_file(path) as source:
        part = pq.ParquetFile(source)
        version = (part.schema_arrow.metadata or {}).get(b"emovox.schema_version", b"none").decode()
        if version != SCHEMA_VERSION:
            raise UserError(f"{uri}: schema version {version}, this program reads {SCHEMA_VERSION}; label again")
        return part.read(columns=columns)


def read_columns(labels_uri: str, columns: list[str]) -> pa.Table:
    """Some columns of all parts together; an empty table for a set that has none yet."""
    fields = pa.schema([DISTILLATION_SCHEMA.field(name) for name in columns])
    return pa.concat_tables([table for _, table in read_parts(labels_uri, columns)] or [fields.empty_table()])


def read_labels(labels_uri: str, columns: list[str]) -> pa.Table:
    """As `read_columns`, for a reader that needs rows: an empty or missing set is a UserError."""
    table = read_columns(labels_uri, columns)
    if not len(table):
        raise UserError(f"{labels_uri}: no distillation set is there; write one with `emovox label --out {labels_uri}`")
    return table


def drop_doubles(labels_uri: str) -> None:
    """Takes out rows that stand in an earlier part too, as a late write of a run that was thought dead can leave them.

    Only the ids are read unless there are such rows; what is kept of a part is written before the part goes.
    """
    ids = read_columns(labels_uri, ["utterance_id"])["utterance_id"]
    if pc.count_distinct(ids).as_py() == len(ids):
        return
    seen: set[str] = set()
    for uri in part_uris(labels_uri):
        ids = storage.read_table(uri, ["utterance_id"])["utterance_id"].to_pylist()
        new = [id not in seen for id in ids]
        seen.update(ids)
        if not all(new):
            kept = storage.read_table(uri).filter(pa.array(new))
            if len(kept):
                write_part(labels_uri, kept)
            storage.delete(uri)


def pending(manifest: pa.Table, labels_uri: str) -> pa.Table:
    """The manifest's rows that are not in the set yet."""
    done = read_columns(labels_uri, ["utterance_id"])["utterance_id"]
    return manifest.filter(pc.invert(pc.is_in(manifest["utterance_id"], value_set=done.combine_chunks())))


def audit(manifest: pa.Table, labels_uri: str) -> dict:
    """Counts over the whole set: rows, labelled, rejected, reasons. Every utterance must be there exactly once.

    Raises RuntimeError otherwise: that would be a bug, and no label of such a set should be trusted.
    """
    table = read_columns(labels_uri, ["utterance_id", "reject_reason"])
    counts = Counter(table["utterance_id"].to_pylist())
    wanted = set(manifest["utterance_id"].to_pylist())
    lost, doubled = wanted - counts.keys(), [id for id, n in counts.items() if n > 1]
    if lost or doubled or counts.keys() - wanted:
        raise RuntimeError(
            f"{labels_uri}: {len(lost)} utterances lost {sorted(lost)[:3]}, {len(doubled)} doubled {doubled[:3]}"
        )
    reasons = Counter(reason for reason in table["reject_reason"].to_pylist() if reason)
    rejected = sum(reasons.values())
    return {
        "rows": len(table),
        "labelled": len(table) - rejected,
        "rejected": rejected,
        "reasons": dict(sorted(reasons.items())),
    }
