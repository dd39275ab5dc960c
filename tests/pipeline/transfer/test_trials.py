"""What the benchmark finds in a folder of an earlier call, before it trains anything, and a page of few speakers."""

import numpy as np
import pytest

from cluster import storage
from cluster.failures import UserError
from cluster.json_values import json_ready
from modeling.distillation.recipes import smoke
from modeling.emotions import EMOTIONS
from modeling.evaluation.transfer import SpeakerSplit, TransferPredictions, transfer_quality
from modeling.faces.ferplus import FaceSet
from pipeline.assets.weights import Weights
from pipeline.reports.transfer import transfer_report
from pipeline.transfer.run import findings
from pipeline.transfer.trials import SCORE_SCHEMA, TransferBenchmark, TransferRun, _claim, all_scores
from tests.support.report_inputs import FACTS


def test_scores_of_other_held_out_speakers_are_refused_before_any_training(tmp_path):
    faces = FaceSet(np.zeros((1, 48, 48), np.uint8), np.zeros((1, 10), np.uint8))
    benchmark = TransferBenchmark(
        clips=[],
        faces=faces,
        faces_uri="faces.parquet",
        teacher=Weights("none", b""),
        recipe=smoke(),
        rhos=["0", "1"],
        seeds=1,
        out_uri=str(tmp_path),
    )
    _claim(benchmark, TransferRun("1", 0, SpeakerSplit(("a",), ("b",))))
    storage.write_table(str(tmp_path / "runs/rho-1_seed-0/scores.parquet"), SCORE_SCHEMA.empty_table())
    split = SpeakerSplit(("c",), ("b",))
    with pytest.raises(UserError, match="held_out was .'a'., now .'c'."):
        all_scores(benchmark, [TransferRun("0", 0, split), TransferRun("1", 0, split)], None, None)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["rho-1_seed-0"]


def test_a_page_is_drawn_where_a_value_lies_outside_its_interval():
    """Scores that follow the speaker far more than the emotion: a speaker drawn twice makes the AUC of resamples higher."""
    rng = np.random.default_rng(0)
    speakers_N, truth_N = np.repeat(np.arange(20), 25), np.tile(np.repeat(np.arange(5), 5), 20)
    scores_NE = np.repeat(rng.normal(size=(20, len(EMOTIONS))), 25, axis=0)
    scores_NE[np.arange(500), truth_N] += 0.05
    quality = json_ready(transfer_quality([TransferPredictions(scores_NE, truth_N, speakers_N)])) | {
        "labels_right": 1.0
    }
    assert quality["low"] > quality["mean_auc"]
    result = {"0": quality, "1": quality, "supervised": quality}
    result |= json_ready(findings(result, ["0", "1"])) | {
        "n": 500,
        "speakers": 20,
        "seeds": 1,
        "rejected": 0,
        "left_out": {},
    }
    result |= {
        "emotions": quality["emotions"],
        "held_out_speakers": {"0": ["a"]},
        "teacher": "t",
        "faces": 1,
        "clips": 500,
    }
    facts = FACTS | {"configuration": {"faces_per_clip": 4, "recipe": {"epochs": 1}}}
    assert transfer_report(result, ["0", "1"], facts).count("data:image/svg+xml") == 6
