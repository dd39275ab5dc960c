"""Two sets joined by their utterances.

Shape letters: P utterances that are in both sets, C those labelled in both.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.failures import UserError
from modeling.emotions import EMOTIONS, MASKED_BELOW
from pipeline.comparison.figures import Overlap, RejectChange, SetFacts
from pipeline.dataset.label_set import LabelSet


@dataclass(frozen=True)
class JoinedSets:
    """rows_a_P, rows_b_P: rows of the utterances that are in both; compared_a_C, compared_b_C: of those labelled in both."""

    a: LabelSet
    b: LabelSet
    rows_a_P: np.ndarray
    rows_b_P: np.ndarray
    compared_a_C: np.ndarray = field(init=False)
    compared_b_C: np.ndarray = field(init=False)

    def __post_init__(self):
        labelled_P = self.a.labelled_N[self.rows_a_P] & self.b.labelled_N[self.rows_b_P]
        object.__setattr__(self, "compared_a_C", self.rows_a_P[labelled_P])
        object.__setattr__(self, "compared_b_C", self.rows_b_P[labelled_P])

    def overlap(self) -> Overlap:
        labelled_a_P, labelled_b_P = self.a.labelled_N[self.rows_a_P], self.b.labelled_N[self.rows_b_P]
        shared = len(self.rows_a_P)
        return Overlap(
            in_both=shared,
            only_in_a=len(self.a) - shared,
            only_in_b=len(self.b) - shared,
            labelled_in_both=len(self.compared_a_C),
            labelled_only_in_a=int((labelled_a_P & ~labelled_b_P).sum()),
            labelled_only_in_b=int((~labelled_a_P & labelled_b_P).sum()),
            rejected_in_both=int((~labelled_a_P & ~labelled_b_P).sum()),
        )

    def reject_changes(self) -> tuple[RejectChange, ...]:
        """The most frequent first."""
        columns = [
            rows.table["reject_reason"].combine_chunks().take(pa.array(index_P))
            for rows, index_P in ((self.a, self.rows_a_P), (self.b, self.rows_b_P))
        ]
        touched = pc.or_(*(pc.is_valid(column) for column in columns))
        pairs = Counter(zip(*(column.filter(touched).to_pylist() for column in columns), strict=True))
        changes = [RejectChange(a, b, count) for (a, b), count in pairs.items() if a != b]
        return tuple(sorted(changes, key=lambda change: (-change.utterances, change.a or "", change.b or "")))


def join_sets(a: LabelSet, b: LabelSet) -> JoinedSets:
    """Raises UserError if they share no utterance that both label, or call different ones by the same name."""
    places = pc.index_in(b.table["utterance_id"], value_set=a.table["utterance_id"].combine_chunks())
    rows_b_P = np.flatnonzero(places.is_valid().to_numpy())
    joined = JoinedSets(a, b, places.drop_null().to_numpy(), rows_b_P)
    pa.default_memory_pool().release_unused()
    if not len(rows_b_P):
        examples = " and ".join(repr(each.table["utterance_id"][0].as_py()) for each in (a, b))
        raise UserError(
            f"{a.uri} and {b.uri} share no utterance ({examples}, for example); compare sets that were labelled from the same "
            "manifest"
        )
    _require_same_people(joined)
    if not len(joined.compared_a_C):
        raise UserError(
            f"{a.uri} and {b.uri} share {len(rows_b_P)} utterances, but none is labelled in both; their rejects "
            "say why, in the column reject_reason"
        )
    known_CE = (a.logits_NE[joined.compared_a_C] > MASKED_BELOW) & (b.logits_NE[joined.compared_b_C] > MASKED_BELOW)
    if not known_CE.any(1).all():
        raise UserError(
            f"{a.uri} and {b.uri}: their teachers know no emotion in common, so there is nothing to compare"
        )
    return joined


def _require_same_people(joined: JoinedSets) -> None:
    for name in ("speaker_id", "video_id"):
        differs_P = pc.not_equal(*codes(joined, name)).to_numpy(zero_copy_only=False)
        if differs_P.any():
            first = int(differs_P.argmax())
            row_a, row_b = int(joined.rows_a_P[first]), int(joined.rows_b_P[first])
            raise UserError(
                f"{joined.a.uri} and {joined.b.uri} call different utterances by one name: {name} of "
                f"{joined.a.table['utterance_id'][row_a].as_py()!r} is {joined.a.table[name][row_a].as_py()!r} and "
                f"{joined.b.table[name][row_b].as_py()!r} ({int(differs_P.sum())} such utterances); compare sets of one manifest"
            )


def codes(joined: JoinedSets, name: str) -> tuple[pa.Array, pa.Array]:
    """A column of both sets over the shared utterances, as comparable codes: indices into the values of both."""
    columns = [
        rows.table[name].combine_chunks().take(pa.array(index_P))
        for rows, index_P in ((joined.a, joined.rows_a_P), (joined.b, joined.rows_b_P))
    ]
    both = pa.chunked_array(columns).unify_dictionaries()
    return both.chunk(0).indices, both.chunk(1).indices


def set_facts(rows: LabelSet) -> SetFacts:
    reasons = rows.table["reject_reason"].combine_chunks().drop_null().value_counts().to_pylist()
    labelled_N = rows.labelled_N
    known_E = np.any(rows.logits_NE > MASKED_BELOW, axis=0).tolist()  # False for the NaN of rejects
    return SetFacts(
        uri=rows.uri,
        teachers=rows.teachers,
        masked=tuple(name for name, known in zip(EMOTIONS, known_E, strict=True) if labelled_N.any() and not known),
        rows=len(rows),
        labelled=int(labelled_N.sum()),
        rejected=int((~labelled_N).sum()),
        reasons={item["values"]: item["counts"] for item in sorted(reasons, key=lambda item: -item["counts"])},
        is_finished=rows.is_finished,
    )
