"""What is measured of one student and between several, from tables of scores alone."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from scipy.special import rel_entr, softmax
from scipy.stats import spearmanr
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, roc_auc_score

from cluster.failures import UserError
from cluster.json_values import json_ready
from modeling.emotions import EMOTIONS
from modeling.students.build import StudentConfig, build_student
from pipeline.evaluation.comparison import differences, origin, student_names
from pipeline.evaluation.scoring import evaluate_scores
from tests.support.score_tables import score_table


def arrays(table) -> dict[str, np.ndarray]:
    frame = pd.DataFrame(table.to_pylist())
    kept = {name: np.stack(frame[name].to_numpy()) for name in ("logits", "probabilities", "corrected")}
    return kept | {"dominant": np.array([EMOTIONS.index(emotion) for emotion in frame["emotion"]])}


def test_every_figure_can_be_recomputed_from_the_table():
    table = score_table()
    found, data = json_ready(evaluate_scores(table, "held-out")), arrays(table)
    teacher = softmax(data["logits"].astype(float), axis=1)
    assert found["kl"]["value"] == pytest.approx(rel_entr(teacher, data["probabilities"]).sum(1).mean(), rel=1e-5)
    softer = softmax(data["logits"].astype(float) / 2, axis=1)
    student = np.sqrt(data["probabilities"]) / np.sqrt(data["probabilities"]).sum(1, keepdims=True)
    assert found["kl_temperature_2"]["value"] == pytest.approx(rel_entr(softer, student).sum(1).mean(), rel=1e-5)
    for column, emotion in enumerate(EMOTIONS[:5]):
        positive = data["dominant"] == column
        assert found["auc"][emotion]["value"] == pytest.approx(
            roc_auc_score(positive, data["probabilities"][:, column])
        )
        rank = spearmanr(data["probabilities"][:, column], teacher[:, column]).statistic
        assert found["spearman"][emotion]["value"] == pytest.approx(rank)
    for kind, key in (("raw", "probabilities"), ("corrected", "corrected")):
        predicted = data[key].argmax(1)
        expected = confusion_matrix(data["dominant"], predicted, labels=range(8)).tolist()
        assert found["confusion"][kind] == expected
        balanced = balanced_accuracy_score(data["dominant"], predicted)
        assert found["balanced_accuracy"][kind]["value"] == pytest.approx(balanced)
    assert found["balanced_accuracy"]["corrected"]["value"] > found["balanced_accuracy"]["raw"]["value"]
    json.dumps(found, allow_nan=False)


def test_heard_and_unheard_make_up_held_out():
    table = score_table()
    parts = [json_ready(evaluate_scores(table, split)) for split in ("heard", "unheard", "held-out")]
    assert parts[0]["utterances"] + parts[1]["utterances"] == parts[2]["utterances"] == 240
    assert parts[0]["speakers"] + parts[1]["speakers"] == parts[2]["speakers"] == 20
    with pytest.raises(UserError, match="split 'val', only in heard, unheard; choose another --split"):
        json_ready(evaluate_scores(table, "val"))


def test_a_class_that_is_absent_or_unknown_gives_no_number_and_no_infinity():
    found = json_ready(evaluate_scores(score_table(masked=("contempt", "fear")), "held-out"))
    assert found["masked"] == ["fear", "contempt"] and np.isfinite(found["kl"]["value"])
    for emotion in ("fear", "contempt"):
        assert found["auc"][emotion]["value"] is None and found["auc"][emotion]["positives"] == 0
        assert found["spearman"][emotion]["value"] is None
    json.dumps(found, allow_nan=False)


def test_a_student_without_a_prior_has_no_corrected_figures():
    found = json_ready(evaluate_scores(score_table(is_corrected=False), "held-out"))
    assert found["confusion"]["corrected"] is None and found["balanced_accuracy"]["corrected"] is None
    assert found["confusion"]["raw"] is not None


def test_differences_are_paired_and_say_what_they_show():
    tables = {
        "a": score_table(),
        "copy": score_table(),
        "better": score_table(follows=1.0),
        "like": score_table(noise_seed=7),
    }
    found = json_ready(differences(tables, "held-out"))
    assert list(found) == ["copy", "better", "like"]
    assert found["copy"]["mean_auc"] == {"value": 0, "low": 0, "high": 0, "finding": "no difference shown"}
    better, like = found["better"]["mean_auc"], found["like"]["mean_auc"]
    means = {name: json_ready(evaluate_scores(table, "held-out"))["mean_auc"] for name, table in tables.items()}
    assert better["value"] == pytest.approx(means["better"] - means["a"])
    assert better["finding"] == "better" and 0 < better["low"] < better["value"] < better["high"]
    assert like["finding"] == "no difference shown" and like["low"] < 0 < like["high"]
    assert found["better"]["kl"]["finding"] == "better" and found["better"]["kl"]["high"] < 0
    turned = json_ready(differences({"better": tables["better"], "a": tables["a"]}, "held-out"))["a"]
    assert turned["mean_auc"]["finding"] == turned["kl"]["finding"] == "worse"
    assert turned["mean_auc"]["value"] == pytest.approx(-better["value"])
    assert json_ready(differences({"a": tables["a"]}, "held-out")) == {}


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["runs/paper"], ["paper"]),
        (["runs/paper", "runs/modern/"], ["paper", "modern"]),
        (["one/student", "two/student", "three/other"], ["one/student", "two/student", "other"]),
        (["s3://b/x/a/s.safetensors", "s3://b/y/a/s.safetensors"], ["x/a/s.safetensors", "y/a/s.safetensors"]),
    ],
)
def test_students_are_named_by_their_paths(paths, names):
    assert student_names(paths) == names


def test_a_student_given_twice_is_refused():
    with pytest.raises(UserError, match="twice"):
        student_names(["runs/a", "runs/b", "runs/a/"])


@pytest.mark.parametrize(
    ("meta", "differs", "line"),
    [
        ({}, None, ""),
        ({"labels": {}}, None, ""),
        ({"labels": {"teacher": "compact@0", "manifest": "m"}}, False, ""),
        ({"labels": {"teacher": "senet50@1"}}, True, "learned from teacher senet50@1; these labels are by compact@0"),
    ],
)
def test_another_teacher_is_said(tmp_path, caplog, meta, differs, line):
    (tmp_path / "identity.json").write_text('{"teacher": "compact@0", "manifest": "m"}')
    student = build_student(StudentConfig())
    student.meta = meta
    with caplog.at_level(logging.WARNING, logger="pipeline"):
        found = origin("s", student, str(tmp_path), "compact@0")
    assert found.teacher_differs is differs and found.teacher == "compact@0"
    assert line in caplog.text and len(caplog.records) == (1 if line else 0)


def test_another_set_of_utterances_is_said(tmp_path, caplog):
    (tmp_path / "identity.json").write_text('{"teacher": "compact@0", "manifest": "m"}')
    student = build_student(StudentConfig())
    student.meta = {"labels": {"teacher": "compact@0", "manifest": "other"}}
    assert origin("s", student, str(tmp_path), "compact@0").set_differs is True
    assert "learned from another set" in caplog.text
    assert origin("s", student, str(tmp_path / "no_identity"), "compact@0").set_differs is None
