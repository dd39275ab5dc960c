"""Labels without the resting faces of their speakers, as training and evaluation take them."""

import numpy as np
import pyarrow as pa
import pytest

from cluster.failures import UserError
from modeling.emotions import EMOTIONS
from pipeline.dataset.resting_faces import resting_faces, without_resting_faces


def table(logits_NE: np.ndarray, speakers: list[str]) -> pa.Table:
    emotions = [EMOTIONS[k] for k in logits_NE.argmax(1)]
    logits = pa.array(list(logits_NE.astype(np.float32)), pa.list_(pa.float32()))
    return pa.table({"speaker_id": speakers, "emotion": emotions, "logits": logits})


def test_of_someone_who_looks_sad_at_rest_only_what_is_sadder_is_left():
    sadness = EMOTIONS.index("sadness")
    logits_NE = np.random.default_rng(0).normal(0, 0.1, (80, 8))
    logits_NE[40:, sadness] += 5
    logits_NE[79, sadness] += 5
    rows = table(logits_NE, ["a"] * 40 + ["b"] * 40)
    assert rows["emotion"].to_pylist()[40:] == ["sadness"] * 40
    moved = without_resting_faces(rows, resting_faces(rows))
    left_N = np.array(moved["logits"].to_pylist())[:, sadness]
    assert np.abs(left_N[:79]).max() < 0.6 and left_N[79] > 4.5 and moved["emotion"][79].as_py() == "sadness"
    assert moved.schema.equals(rows.schema)


def test_all_of_one_speaker_is_refused():
    rows = table(np.eye(8), ["a"] * 8)
    with pytest.raises(UserError, match="all 8 labelled utterances are of one speaker"):
        resting_faces(rows)
