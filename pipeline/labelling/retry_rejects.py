"""`label --retry-rejects`: the rejects of some reasons once more, with no moment in which a row is missing.

The new rows go into parts of the next generation (`distillation_set.write_part`) while the old ones stay; only when all
are there are the old ones taken out, by `distillation_set.drop_doubles`, which keeps the row of the latest generation.
OUT/retry.json holds what was asked for until then, so that the same command, given again after a kill, does not ask the
utterances again that it has tried already.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc

from cluster import storage
from cluster.failures import UserError
from pipeline.dataset import distillation_set
from pipeline.dataset.set_record import Part
from pipeline.rejects import RejectReason

FILE = "retry.json"
ALL = "all"


@dataclass(frozen=True)
class RetryCounts:
    """How many rejects were tried again, and how many of these are labelled now."""

    retried: int
    now_labelled: int


@dataclass(frozen=True)
class Retry:
    """One order: `generation` is that of the parts which the new rows go to, `rows` how many rejects there were."""

    reasons: tuple[str, ...]
    generation: int
    rows: int

    def pending(self, manifest: pa.Table, labels_uri: str) -> pa.Table:
        """The manifest's rows that are to be tried and were not yet."""
        waiting = _rejects(labels_uri, self.reasons, before=self.generation)
        return manifest.filter(pc.is_in(manifest["utterance_id"], value_set=waiting))

    def finish(self, labels_uri: str) -> RetryCounts:
        """Counts of the whole order; from here on the same command is a new one."""
        tried = _rows_of(labels_uri, self.generation)
        storage.delete(storage.join(labels_uri, FILE))
        return RetryCounts(retried=self.rows, now_labelled=tried["reject_reason"].null_count)


def checked_reasons(names: Iterable[str]) -> tuple[str, ...]:
    """The reasons to retry, sorted; `all` stands for every one. Raises UserError for a name that is none."""
    names = set(names)
    unknown = sorted(names - {ALL} - {reason.value for reason in RejectReason})
    if unknown:
        raise UserError(
            f"retry_rejects: {', '.join(unknown)} is no reason of a reject; give `{ALL}` or some of "
            f"{', '.join(RejectReason)}"
        )
    return tuple(sorted(RejectReason)) if ALL in names else tuple(sorted(names))


def begin(manifest: pa.Table, labels_uri: str, reasons: tuple[str, ...]) -> Retry:
    """The order that was begun with these reasons and not finished, or a new one, which is written down.

    Raises UserError where the set is not finished yet: then the command without a retry comes first.
    """
    missing = len(distillation_set.pending(manifest, labels_uri))
    if missing:
        raise UserError(
            f"{labels_uri}: {missing} of {len(manifest)} utterances are not labelled yet; give the command without "
            "--retry-rejects first"
        )
    uri = storage.join(labels_uri, FILE)
    if storage.exists(uri):
        found = storage.read_json(uri)
        if tuple(found["reasons"]) == reasons:
            return Retry(reasons, found["generation"], found["rows"])
    generation = 1 + max(map(distillation_set.generation, distillation_set.part_uris(labels_uri)), default=0)
    retry = Retry(reasons, generation, len(_rejects(labels_uri, reasons, generation)))
    storage.write_json(uri, asdict(retry))
    return retry


def _rejects(labels_uri: str, reasons: tuple[str, ...], before: int) -> pa.Array:
    """Ids of the rejects of these reasons that have no row in the generation `before`, or a later one."""
    waiting, tried = [pa.array([], pa.string())], [pa.array([], pa.string())]
    for uri, rows in _read(labels_uri, ["utterance_id", "reject_reason"]):
        if distillation_set.generation(uri) >= before:
            tried.append(rows["utterance_id"].combine_chunks())
        else:
            rejected = pc.is_in(rows["reject_reason"], value_set=pa.array(reasons, pa.string()))
            waiting.append(rows["utterance_id"].filter(rejected).combine_chunks())
    ids = pa.concat_arrays(waiting)
    return ids.filter(pc.invert(pc.is_in(ids, value_set=pa.concat_arrays(tried))))


def _rows_of(labels_uri: str, generation: int) -> pa.Table:
    parts = _read(labels_uri, ["reject_reason"])
    own = [rows for uri, rows in parts if distillation_set.generation(uri) == generation]
    return pa.concat_tables(own) if own else pa.table({"reject_reason": pa.array([], pa.string())})


def _read(labels_uri: str, columns: list[str]) -> Iterator[tuple[str, pa.Table]]:
    """Of each part that is there, whether the set is whole or not, its URI and some columns."""
    uris = distillation_set.part_uris(labels_uri)
    parts = distillation_set.read_parts([Part(uri) for uri in uris], columns)
    yield from zip(uris, (part.table for part in parts), strict=True)
