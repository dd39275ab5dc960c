"""What a reader of a comparison must know before its figures."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from modeling.emotions import EMOTIONS, MASKED_BELOW
from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.comparison.joined import JoinedSets, codes

OTHER_LENGTH_S = 1.0
"""Speech whose length differs by more is hardly the same recording."""


def doubts(joined: JoinedSets) -> tuple[str, ...]:
    """Whole sentences; none for two complete sets of one manifest."""
    return (*_of_sets(joined), *_of_rows(joined))


def _of_sets(joined: JoinedSets) -> list[str]:
    said: list[str] = []
    a, b = joined.a, joined.b
    if a.uri == b.uri:
        said.append("A and B are the same folder: everything agrees with itself.")
    elif np.array_equal(a.logits_NE[joined.compared_a_C], b.logits_NE[joined.compared_b_C]):
        said.append("A and B hold the same logits in every utterance that both label; one may be a copy of the other.")
    for name, each in (("A", a), ("B", b)):
        if not each.is_finished:
            said.append(
                f"{name} is still being written, or its run was stopped: only the {len(each):,} utterances that are there are "
                "seen."
            )
        if len(each.teachers) > 1:
            said.append(f"{name} holds labels of several teachers ({', '.join(each.teachers)}).")
        known_E = (each.logits_NE > MASKED_BELOW).any(0)
        if not known_E.all():
            masked = ", ".join(np.array(EMOTIONS)[~known_E])
            said.append(
                f"The teacher of {name} does not know {masked}: divergences and distances leave that out of both, and where the "
                "other finds it dominant they disagree."
            )
    if a.manifest and b.manifest and a.manifest != b.manifest:
        said.append(
            f"A and B were labelled from different manifests: only the {len(joined.rows_a_P):,} utterances with the same "
            "names are compared."
        )
    return said


def _of_rows(joined: JoinedSets) -> list[str]:
    said: list[str] = []
    other_split = int(pc.sum(pc.not_equal(*codes(joined, "split"))).as_py())
    if other_split:
        said.append(f"{other_split:,} utterances are in another split in B than in A; the splits shown are A's.")
    lengths = [
        each.table["speech_samples"].combine_chunks().take(pa.array(index_C))
        for each, index_C in ((joined.a, joined.compared_a_C), (joined.b, joined.compared_b_C))
    ]
    apart = pc.greater(pc.abs(pc.subtract(*lengths)), round(OTHER_LENGTH_S * SAMPLE_RATE_HZ))
    if other_length := pc.sum(apart).as_py():
        said.append(
            f"In {other_length:,} utterances the speech of A and B differs in length by more than {OTHER_LENGTH_S:g} s: they "
            "may be other recordings under the same names."
        )
    return said
