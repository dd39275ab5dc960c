"""Ids and labels of all utterances of a distillation set in memory, with the places of their pictures and sound on storage.

Shape letters: N utterances of the set, E = 8 emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster import lease, storage
from cluster.failures import UserError
from cluster.identity import FILE as IDENTITY
from modeling.emotions import EMOTIONS
from pipeline.dataset import set_record
from pipeline.dataset.distillation_set import PARTS_TOGETHER, generation, read_parts, set_parts, warn_unchecked
from pipeline.dataset.set_record import Part

NAMES = ["speaker_id", "video_id", "split", "reject_reason", "teacher"]
"""Columns whose values repeat, and are kept once each."""
COLUMNS = ["utterance_id", *NAMES, "speech_samples", "logits"]


@dataclass(frozen=True)
class LabelSet:
    """A set in memory, about 100 bytes an utterance.

    table: `utterance_id`, `NAMES` as dictionaries, `speech_samples`, and where the row is stored: `part`, an index into
    `parts`, and `row`. logits_NE: float32, NaN for rejects. is_finished: False while the set is being written, or was
    stopped. manifest: fingerprint of what was labelled, None if the set does not tell.
    """

    uri: str
    table: pa.Table
    logits_NE: np.ndarray
    parts: Sequence[Part]
    is_finished: bool
    manifest: str | None

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labelled_N(self) -> np.ndarray:
        return self.table["reject_reason"].is_null().to_numpy()

    @property
    def teachers(self) -> tuple[str, ...]:
        return tuple(sorted(pc.unique(self.table["teacher"]).drop_null().to_pylist()))


def read_label_set(labels_uri: str) -> LabelSet:
    """Raises UserError if no set is there, it is of another version or was changed, a label is not eight finite logits, or an
    utterance is labelled in it twice."""
    is_finished = _is_finished(labels_uri)  # before the parts: a run that ends meanwhile may have added some
    parts = set_parts(labels_uri)
    tables: list[pa.Table] = []
    logits: list[np.ndarray] = []
    seals: list[str | None] = []
    for start in range(0, len(parts), PARTS_TOGETHER):
        found = read_parts(parts[start : start + PARTS_TOGETHER], COLUMNS)
        seals += [each.seal for each in found]
        rows = [each.table.num_rows for each in found]
        read = pa.concat_tables([each.table for each in found]).combine_chunks()
        logits.append(_logits(read, labels_uri))
        tables.append(_compact(read, np.repeat(np.arange(start, start + len(rows)), rows), rows))
    if not any(map(len, tables)):
        raise UserError(f"{labels_uri}: no distillation set is there; write one with `emovox label --out {labels_uri}`")
    warn_unchecked(labels_uri, seals)
    parts = [Part(part.uri, seal) for part, seal in zip(parts, seals, strict=True)]
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    pa.default_memory_pool().release_unused()
    logits_NE = np.concatenate(logits)
    kept = _each_once(table, [generation(part.uri) for part in parts], labels_uri)
    if kept is not None:
        table, logits_NE = table.take(kept), logits_NE[kept]
    return LabelSet(labels_uri, table, logits_NE, parts, is_finished, _manifest(labels_uri))


def _is_finished(labels_uri: str) -> bool:
    """A set of before there were records has none, but no lease either."""

    def has(name: str) -> bool:
        return storage.exists(storage.join(labels_uri, name))

    return has("run.json") and (has(set_record.FILE) or not has(lease.FILE))


def _manifest(labels_uri: str) -> str | None:
    uri = storage.join(labels_uri, IDENTITY)
    found = storage.read_json(uri).get("manifest") if storage.exists(uri) else None
    return found if isinstance(found, str) else None


def _compact(read: pa.Table, part_N: np.ndarray, rows: Sequence[int]) -> pa.Table:
    names = {name: read[name].combine_chunks().dictionary_encode() for name in NAMES}
    row_N = np.concatenate([np.arange(n) for n in rows])
    place = {"part": pa.array(part_N.astype(np.int32)), "row": pa.array(row_N.astype(np.int32))}
    kept = {"utterance_id": read["utterance_id"], "speech_samples": read["speech_samples"]}
    return pa.table(kept | names | place)


def _logits(read: pa.Table, labels_uri: str) -> np.ndarray:
    labelled_N = read["reject_reason"].is_null().to_numpy()
    labelled = read.filter(pa.array(labelled_N))
    lengths = pc.fill_null(pc.list_value_length(labelled["logits"]), 0)
    values_NE = np.full((len(read), len(EMOTIONS)), np.nan, np.float32)
    wrong_N = pc.not_equal(lengths, len(EMOTIONS)).to_numpy()
    if not wrong_N.any():
        flat = pc.list_flatten(labelled["logits"]).to_numpy().reshape(-1, len(EMOTIONS))
        values_NE[labelled_N] = flat
        wrong_N = ~np.isfinite(flat).all(1)
    if wrong_N.any():
        id = labelled["utterance_id"][int(wrong_N.argmax())].as_py()
        raise UserError(
            f"{labels_uri}: the label of {id!r} is not {len(EMOTIONS)} finite logits ({int(wrong_N.sum())} such rows); label "
            "again"
        )
    return values_NE


def _each_once(table: pa.Table, generations: Sequence[int], labels_uri: str) -> np.ndarray | None:
    """The rows to keep; None: all. A reject that is being tried again stands there twice, and its label or later row counts."""
    ids = table["utterance_id"].combine_chunks()
    in_order = ids.take(pc.sort_indices(ids))  # counting with a hash table takes ten times the memory
    if not pc.any(pc.equal(in_order[1:], in_order[:-1])).as_py():
        return None
    labelled = ids.filter(table["reject_reason"].is_null().combine_chunks())
    if doubled := len(labelled) - len(labelled.unique()):
        raise UserError(
            f"{labels_uri}: {doubled} labelled utterances are in it twice, as a run that was cut off can leave them; give "
            "its `emovox label` command again, which takes them out"
        )
    keys = pa.table(
        {
            "id": ids,
            "rejected": table["reject_reason"].is_valid(),
            "earlier": -np.asarray(generations)[table["part"].to_numpy()],
        }
    )
    order_N = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]).to_numpy()
    in_order = ids.take(pa.array(order_N))
    first_N = np.append(True, pc.not_equal(in_order[1:], in_order[:-1]).to_numpy(zero_copy_only=False))
    return np.sort(order_N[first_N])
