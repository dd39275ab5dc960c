"""Whether a distillation set is what was written: the whole of it, or what can be had cheaply before a run goes on."""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cluster import storage
from cluster.failures import UserError
from cluster.storage import StoredFile
from pipeline.dataset import set_record
from pipeline.dataset.distillation_set import READ_THREADS, part_files
from pipeline.dataset.part_file import read_part_file
from pipeline.dataset.set_record import Part, Record, name_of
from pipeline.schema import DISTILLATION_SCHEMA

READ_WHOLE_BYTES, READ_WHOLE_PARTS = 256 * 2**20, 500
"""A set up to this size is read whole before a run goes on with it. Of a larger one only the parts whose bytes are not those of
the record are: the others are held against their digests by whoever reads them."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VerifiedSet:
    """unchecked: parts without hashes. recorded: whether the set has a record, without which nobody knows that it is whole."""

    parts: int
    rows: int
    unchecked: int
    recorded: bool


def verify_set(labels_uri: str) -> VerifiedSet:
    """Reads every part and holds it against its digests, and all of them against the set's record.

    Logs each part that is missing, strange or changed. Raises UserError that names the first of them, and where no set is there.
    """
    files, record = part_files(labels_uri), set_record.read_record(labels_uri)
    if not files and record is None:
        raise UserError(f"{labels_uri}: no distillation set is there; give a folder that `emovox label` wrote")
    problems: list[str] = []
    if record is not None:
        problems += [
            f"{storage.join(labels_uri, 'utterances', name)}: missing" for name in set_record.missing(record, files)
        ]
        problems += [f"{uri}: the set was written without it" for uri in set_record.foreign(record, files)]
    looks = list(_looks(_parts(files, record or {})))
    problems += [look.problem for look in looks if look.problem]
    for problem in problems:
        log.error("%s", problem)
    if problems:
        raise UserError(
            f"{labels_uri}: {len(problems)} of {len(files)} parts are not as they were written; {problems[0]}"
        )
    return VerifiedSet(
        parts=len(looks),
        rows=sum(look.rows for look in looks),
        unchecked=sum(not look.sealed for look in looks),
        recorded=record is not None,
    )


@dataclass(frozen=True)
class _Look:
    """At one part. problem: "" where it is what was written, or says nothing of itself."""

    rows: int = 0
    sealed: bool = True
    problem: str = ""


def _parts(files: Iterable[StoredFile], record: Record) -> list[Part]:
    """With the seals of those that the record tells of."""
    known = ((file.uri, record.get(name_of(file.uri))) for file in files)
    return [Part(uri, part and part.seal) for uri, part in known]


def _looks(parts: list[Part]) -> Iterator[_Look]:
    with ThreadPoolExecutor(READ_THREADS) as pool:
        yield from pool.map(_look, parts)


def _look(part: Part) -> _Look:
    try:
        found = read_part_file(part.uri, DISTILLATION_SCHEMA.names, seal=part.seal)
    except UserError as error:
        return _Look(problem=str(error))
    return _Look(found.rows, found.seal is not None)


def require_unchanged(manifest: pa.Table, labels_uri: str) -> None:
    """Before a run goes on: raises UserError that names a part which is not what was written.

    Parts that are missing are made anew by the run, which is told in a line; those that a late write of a run that was thought
    dead has added to a whole set are deleted, also with a line.
    """
    files, record = part_files(labels_uri), set_record.read_record(labels_uri)
    for uri in set_record.foreign(record, files) if record is not None else ():
        _take_out(uri, manifest)
    files = [file for file in files if record is None or name_of(file.uri) in record]
    for look in _looks(_parts(_doubtful(files, record), record or {})):
        if look.problem:
            raise UserError(look.problem)
    if lost := set_record.missing(record or {}, files):
        log.warning("%s: %s is missing (%d parts); they are made anew", labels_uri, lost[0], len(lost))
        set_record.delete_record(labels_uri)


def _doubtful(files: list[StoredFile], record: Record | None) -> list[StoredFile]:
    if len(files) <= READ_WHOLE_PARTS and sum(file.size for file in files) <= READ_WHOLE_BYTES:
        return files
    sizes = {name: part.size_bytes for name, part in (record or {}).items()}
    return [file for file in files if sizes.get(name_of(file.uri), file.size) != file.size]


def _take_out(uri: str, manifest: pa.Table) -> None:
    """Raises UserError for a part with utterances that are no business of the set."""
    ids = read_part_file(uri, ["utterance_id"]).table["utterance_id"]
    strange = ids.filter(pc.invert(pc.is_in(ids, value_set=manifest["utterance_id"].combine_chunks())))
    if len(strange):
        raise UserError(
            f"{uri}: the set was written without it, and its utterance {strange[0].as_py()!r} is not in the manifest; take it out"
        )
    log.warning("%s is deleted: the set was whole without it, and its utterances are in other parts", uri)
    storage.delete(uri)
