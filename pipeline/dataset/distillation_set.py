"""The distillation set on storage: parquet parts written whole, an identity, resume, and the final audit.

OUT/identity.json       what decides the labels; a run with another identity is refused (`cluster/identity.py`)
OUT/utterances/*.parquet the parts, each named by the ids in it, so that a repeated write replaces itself
OUT/utterances/_parts.json which parts the whole set has, and their hashes (`set_record.py`)
OUT/run.json            the record of the last run

A part is one atomic write (rename on disk, one PUT on an object store), so a reader never sees half a part, and the
utterances that are done are exactly those in the parts.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cluster import storage
from cluster.failures import UserError
from cluster.storage import StoredFile
from pipeline.dataset import set_record
from pipeline.dataset.part_file import PartContent, read_part_file, write_part_file
from pipeline.dataset.parts import LARGE_MANIFEST, LARGE_PART_ROWS, PART_ROWS, cut_parts, part_name
from pipeline.dataset.set_record import Part, PartRecord, name_of
from pipeline.rejects import count_unforeseen
from pipeline.schema import DISTILLATION_SCHEMA

READ_THREADS = 16

log = logging.getLogger(__name__)

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
    return write_part_file(_part_uri(labels_uri, rows["utterance_id"].to_pylist(), generation), rows)


def _part_uri(labels_uri: str, ids: list[str], generation: int) -> str:
    name = part_name(ids)
    return storage.join(parts_folder(labels_uri), name.replace("-", f"-r{generation:04d}-", 1) if generation else name)


def generation(part_uri: str) -> int:
    """That of all rows of a part; it stands in the part's name."""
    found = re.search(r"/part-r(\d+)-[^/]*$", part_uri)
    return int(found[1]) if found else 0


def part_files(labels_uri: str) -> list[StoredFile]:
    """The committed parts; an empty list for a set that has none yet."""
    folder = parts_folder(labels_uri)
    return storage.list_files(folder, (".parquet",)) if storage.exists(folder) else []


def part_uris(labels_uri: str) -> list[str]:
    return [file.uri for file in part_files(labels_uri)]


def set_parts(labels_uri: str) -> list[Part]:
    """The parts as a reader takes them. Raises UserError where the set's record tells of others."""
    return set_record.checked_parts(labels_uri, part_files(labels_uri))


def read_parts(parts: Sequence[Part], columns: list[str]) -> list[PartContent]:
    """Some columns of each part, read without the others. Raises UserError for a set of another version, or a changed one."""
    with ThreadPoolExecutor(READ_THREADS) as pool:
        return list(pool.map(lambda part: read_part_file(part.uri, columns, seal=part.seal), parts))


def read_columns(labels_uri: str, columns: list[str]) -> pa.Table:
    """Some columns of all parts together; an empty table for a set that has none yet."""
    joined = _joined(set_parts(labels_uri), columns)
    warn_unchecked(labels_uri, joined.seals)
    return joined.table


@dataclass(frozen=True)
class _Joined:
    """Parts as one table, with the seal and the rows of each."""

    table: pa.Table
    seals: list[str | None]
    rows: list[int]


def _joined(parts: Sequence[Part], columns: list[str]) -> _Joined:
    fields = pa.schema([DISTILLATION_SCHEMA.field(name) for name in columns])
    tables, seals, rows = [fields.empty_table()], [], []
    for start in range(0, len(parts), PARTS_TOGETHER):
        found = read_parts(parts[start : start + PARTS_TOGETHER], columns)
        seals += [each.seal for each in found]
        rows += [each.rows for each in found]
        tables.append(pa.concat_tables([each.table for each in found]).combine_chunks())
    return _Joined(pa.concat_tables(tables), seals, rows)


def warn_unchecked(labels_uri: str, seals: Sequence[str | None]) -> None:
    """A line where parts carry no hashes."""
    if unchecked := sum(seal is None for seal in seals):
        log.warning(
            "%s: %d of %d parts were written without hashes, by an earlier emovox; nobody checks whether they were changed",
            labels_uri,
            unchecked,
            len(seals),
        )


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
    uris = part_uris(labels_uri)
    read = read_parts([Part(uri) for uri in uris], ["utterance_id"])
    parts = [(uri, part.table["utterance_id"].to_pylist()) for uri, part in zip(uris, read, strict=True)]
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
            whole = read_part_file(uri, DISTILLATION_SCHEMA.names).table
            write_part(labels_uri, whole.filter(pa.array(kept_of[uri])), generation(uri))
        storage.delete(uri)

    with ThreadPoolExecutor(READ_THREADS) as pool:  # a part of the very rows that another one keeps is that one's copy
        list(pool.map(take_out, [uri for uri in kept_of if uri not in rewritten]))


def pending(manifest: pa.Table, labels_uri: str) -> pa.Table:
    """The manifest's rows that are not in the set yet.

    A large manifest's parts are known by their names, so that a listing tells most; ids are read from the others only.
    """
    known, others = _compared(manifest, labels_uri)
    with ThreadPoolExecutor(READ_THREADS) as pool:
        read = list(pool.map(lambda uri: read_part_file(uri, ["utterance_id"]).table["utterance_id"], others))
    done = pa.concat_arrays([pa.array([], pa.string()), *known, *(ids.combine_chunks() for ids in read)])
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
    """Counts over the whole set, in which every utterance must be there exactly once, and writes its record.

    Raises RuntimeError otherwise: that would be a bug, and no label of such a set should be trusted.
    """
    table = close(labels_uri, lambda table: _require_each_once(manifest, table, labels_uri))
    reasons = {item["values"]: item["counts"] for item in table["reject_reason"].drop_null().value_counts().to_pylist()}
    rejected = sum(reasons.values())
    unforeseen = count_unforeseen(table["reject_detail"].drop_null().to_pylist())
    return SetCounts(len(table), len(table) - rejected, rejected, dict(sorted(reasons.items())), unforeseen)


def close(labels_uri: str, require: Callable[[pa.Table], None] = lambda table: None) -> pa.Table:
    """Writes the record of a set that is whole now. Returns its columns utterance_id, reject_reason and
    reject_detail.

    require: is given these columns before, and raises where the set must not be closed.
    """
    files, before = part_files(labels_uri), set_record.read_record(labels_uri) or {}
    known = [before.get(name_of(file.uri)) for file in files]
    parts = [Part(file.uri, part and part.seal) for file, part in zip(files, known, strict=True)]
    joined = _joined(parts, ["utterance_id", "reject_reason", "reject_detail"])
    require(joined.table)
    found = zip(files, joined.seals, joined.rows, strict=True)
    record = {name_of(file.uri): PartRecord(rows, file.size, seal) for file, seal, rows in found}
    if record != before:
        set_record.write_record(labels_uri, record)
    return joined.table


def _require_each_once(manifest: pa.Table, table: pa.Table, labels_uri: str) -> None:
    found, wanted = (each["utterance_id"].combine_chunks() for each in (table, manifest))
    if _sorted(found).equals(_sorted(wanted)):  # sets of ids would take ten times the memory
        return
    lost = wanted.filter(pc.invert(pc.is_in(wanted, value_set=found)))
    counts = Counter(found.to_pylist())
    doubled = [id for id, n in counts.items() if n > 1]
    foreign = counts.keys() - set(wanted.to_pylist())
    raise RuntimeError(
        f"{labels_uri}: {len(lost)} utterances lost {sorted(lost.to_pylist())[:3]}, {len(doubled)} doubled "
        f"{doubled[:3]}, {len(foreign)} not in the manifest {sorted(foreign)[:3]}"
    )


def _sorted(ids: pa.Array) -> pa.Array:
    return ids.take(pc.sort_indices(ids))
