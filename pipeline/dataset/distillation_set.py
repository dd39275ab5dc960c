"""The distillation set on storage: parquet parts written whole, an identity, resume, and the final audit.

OUT/identity.json       what decides the labels; a run with another identity is refused (`cluster/identity.py`)
OUT/utterances/*.parquet the parts, each named by the ids in it, so that a repeated write replaces itself
OUT/run.json            the record of the last run

A part is one atomic write (rename on disk, one PUT on an object store), so a reader never sees half a part, and the
utterances that are done are exactly those in the parts.
"""

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cluster import storage
from cluster.failures import UserError
from pipeline.dataset.parts import LARGE_MANIFEST, LARGE_PART_ROWS, PART_ROWS, cut_parts, part_name
from pipeline.rejects import count_unforeseen
from pipeline.schema import DISTILLATION_SCHEMA, SCHEMA_VERSION

READ_THREADS = 16

PARTS_TOGETHER = 1000
"""Parts whose columns are read before they are joined: a table a part takes 12 kB, however few rows it has."""


@dataclass(frozen=True)
class SetCounts:
    """What a whole set holds. reasons: of its rejects, each with its number, by name; unforeseen: how many of them ended with an
    error that nobody foresaw."""

    rows: int
    labelled: int
    rejected: int
    reasons: dict[str, int]
    unforeseen: int = 0


def parts_folder(labels_uri: str) -> str:
    return storage.join(labels_uri, "utterances")


def write_part(labels_uri: str, rows: pa.Table, generation: int = 0) -> int:
    """generation: 0, or which retry of rejects the rows come from; a later one's rows replace those of an earlier.
    Returns the bytes written."""
    return storage.write_table(_part_uri(labels_uri, rows["utterance_id"].to_pylist(), generation), rows)


def _part_uri(labels_uri: str, ids: list[str], generation: int) -> str:
    name = part_name(ids)
    return storage.join(parts_folder(labels_uri), name.replace("-", f"-r{generation:04d}-", 1) if generation else name)


def generation(part_uri: str) -> int:
    """That of all rows of a part; it stands in the part's name."""
    found = re.search(r"/part-r(\d+)-[^/]*$", part_uri)
    return int(found[1]) if found else 0


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
    with storage.explained(uri, "read it"), fs.open_input_file(path) as source:
        file = pq.ParquetFile(source)
        version = (file.schema_arrow.metadata or {}).get(b"emovox.schema_version", b"none").decode()
        if version != SCHEMA_VERSION:
            raise UserError(f"{uri}: schema version {version}, this program reads {SCHEMA_VERSION}; label again")
        return file.read(columns=columns)


def read_columns(labels_uri: str, columns: list[str]) -> pa.Table:
    """Some columns of all parts together; an empty table for a set that has none yet."""
    fields = pa.schema([DISTILLATION_SCHEMA.field(name) for name in columns])
    uris = part_uris(labels_uri)
    read = [fields.empty_table()]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        for start in range(0, len(uris), PARTS_TOGETHER):
            tables = pool.map(lambda uri: read_part(uri, columns), uris[start : start + PARTS_TOGETHER])
            read.append(pa.concat_tables(tables).combine_chunks())
    return pa.concat_tables(read)


def read_labels(labels_uri: str, columns: list[str]) -> pa.Table:
    """As `read_columns`, for a reader that needs rows: an empty or missing set is a UserError."""
    table = read_columns(labels_uri, columns)
    if not len(table):
        raise UserError(f"{labels_uri}: no distillation set is there; write one with `emovox label --out {labels_uri}`")
    return table


def drop_doubles(manifest: pa.Table, labels_uri: str) -> None:
    """Takes out rows that stand in another part too: the older one of a reject that was retried, and what a late write
    of a run that was thought dead can leave.

    Parts that are cut from the manifest share no rows. If there are others, all ids are read; the rest is read only if
    there are such rows. What is kept of a part is written before the part goes, so that a kill loses nothing.
    """
    if not _compared(manifest, labels_uri)[1]:
        return
    parts = [(uri, rows["utterance_id"].to_pylist()) for uri, rows in read_parts(labels_uri, ["utterance_id"])]
    seen: set[str] = set()
    kept_of: dict[str, list[bool]] = {}
    rewritten: set[str] = set()
    for uri, ids in sorted(parts, key=lambda part: (-generation(part[0]), part[0])):
        is_new = [id not in seen for id in ids]
        seen.update(ids)
        if not all(is_new):
            kept_of[uri] = is_new
            kept = [id for id, new in zip(ids, is_new, strict=True) if new]
            rewritten.add(_part_uri(labels_uri, kept, generation(uri)))

    def take_out(uri: str) -> None:
        if any(kept_of[uri]):
            kept = storage.read_table(uri).filter(pa.array(kept_of[uri]))
            write_part(labels_uri, kept, generation(uri))
        storage.delete(uri)

    with ThreadPoolExecutor(READ_THREADS) as pool:  # a part of the very rows that another one keeps is that one's copy
        list(pool.map(take_out, [uri for uri in kept_of if uri not in rewritten]))


def pending(manifest: pa.Table, labels_uri: str) -> pa.Table:
    """The manifest's rows that are not in the set yet.

    A large manifest's parts are known by their names, so that a listing tells most; ids are read from the others only.
    """
    known, others = _compared(manifest, labels_uri)
    with ThreadPoolExecutor(READ_THREADS) as pool:
        read = list(pool.map(lambda uri: read_part(uri, ["utterance_id"])["utterance_id"].combine_chunks(), others))
    done = pa.concat_arrays([pa.array([], pa.string()), *known, *read])
    if not len(done):
        return manifest  # a filter copies it
    return manifest.filter(pc.invert(pc.is_in(manifest["utterance_id"], value_set=done)))


def _compared(manifest: pa.Table, labels_uri: str) -> tuple[list[pa.Array], list[str]]:
    """Ids of the parts that stand there under the name that `cut_parts` gives them, and the URIs of all other parts.

    The names are those of one size of part: parts of two sizes may share rows.
    """
    found = {uri.rsplit("/", 1)[1]: uri for uri in part_uris(labels_uri)}
    known: list[pa.Array] = []
    for rows in (LARGE_PART_ROWS, PART_ROWS) if len(manifest) >= LARGE_MANIFEST else (PART_ROWS,):
        for part in cut_parts(manifest, rows, ["utterance_id"]) if found and not known else ():
            ids = part["utterance_id"].combine_chunks()
            if found.pop(part_name(ids.to_pylist()), None):
                known.append(ids)
    return known, list(found.values())


def audit(manifest: pa.Table, labels_uri: str) -> SetCounts:
    """Counts over the whole set, in which every utterance must be there exactly once.

    Raises RuntimeError otherwise: that would be a bug, and no label of such a set should be trusted.
    """
    table = read_columns(labels_uri, ["utterance_id", "reject_reason", "reject_detail"])
    found, wanted = (each["utterance_id"].combine_chunks() for each in (table, manifest))
    if not _sorted(found).equals(_sorted(wanted)):  # sets of ids would take ten times the memory
        lost = wanted.filter(pc.invert(pc.is_in(wanted, value_set=found)))
        counts = Counter(found.to_pylist())
        doubled = [id for id, n in counts.items() if n > 1]
        foreign = counts.keys() - set(wanted.to_pylist())
        raise RuntimeError(
            f"{labels_uri}: {len(lost)} utterances lost {sorted(lost.to_pylist())[:3]}, {len(doubled)} doubled "
            f"{doubled[:3]}, {len(foreign)} not in the manifest {sorted(foreign)[:3]}"
        )
    reasons = {item["values"]: item["counts"] for item in table["reject_reason"].drop_null().value_counts().to_pylist()}
    rejected = sum(reasons.values())
    unforeseen = count_unforeseen(table["reject_detail"].drop_null().to_pylist())
    return SetCounts(len(table), len(table) - rejected, rejected, dict(sorted(reasons.items())), unforeseen)


def _sorted(ids: pa.Array) -> pa.Array:
    return ids.take(pc.sort_indices(ids))
