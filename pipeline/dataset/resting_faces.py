"""Labels of a distillation set without the resting faces of its speakers: the one definition for training and evaluation.

The baseline of a speaker is the mean of the column `logits` over all utterances of the set that a student can use, of any split.
Shape letters: N utterances, E = 8 emotions.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.failures import UserError
from modeling.distillation.baseline import SpeakerBaseline
from modeling.emotions import EMOTIONS


def resting_faces(rows: pa.Table) -> SpeakerBaseline:
    """From the columns speaker_id and logits. Raises UserError if there is one speaker only: there is nobody to compare with."""
    speakers = rows["speaker_id"].to_pylist()
    if len(set(speakers)) < 2:
        raise UserError(
            f"--speaker-baseline: all {len(rows)} labelled utterances are of one speaker, so his resting face cannot be told "
            "from what he expresses; label more speakers, or leave the option out"
        )
    return SpeakerBaseline.of(_logits(rows), speakers)


def without_resting_faces(rows: pa.Table, baseline: SpeakerBaseline) -> pa.Table:
    """The same rows, with the columns logits and emotion as they are without their speakers' resting faces."""
    moved_NE = baseline.removed(_logits(rows), rows["speaker_id"].to_pylist())
    emotions = pc.take(pa.array(EMOTIONS), pa.array(moved_NE.argmax(axis=1)))
    changed = {"logits": pa.array(list(moved_NE), rows.schema.field("logits").type), "emotion": emotions}
    for name, values in changed.items():
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), values)
    return rows


def _logits(rows: pa.Table) -> np.ndarray:
    return pc.list_flatten(rows["logits"]).to_numpy().astype(np.float32).reshape(len(rows), len(EMOTIONS))
