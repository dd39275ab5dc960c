"""`emovox evaluate` as users run it: one student, several, and input that cannot be scored."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from cluster import storage
from jobs.evaluate import Evaluate, main
from modeling.emotions import EMOTIONS
from modeling.sampling import SAMPLE_RATE_HZ
from modeling.students.build import StudentConfig, build_student
from modeling.students.checkpoint import load_student, save_student
from modeling.students.prior import corrected
from pipeline.dataset.distillation_set import write_part
from pipeline.media.flac import decode_flac
from tests.support.label_rows import label_table, labelled_row

PRIOR = [0.6, 0.2, 0.05, 0.05, 0.04, 0.02, 0.02, 0.02]


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "labels"
    rows = [
        labelled_row(f"s{n % 6}/{n:02d}", EMOTIONS[n % 3], ("heard", "unheard")[n % 6 < 3], seconds=1.5)
        for n in range(24)
    ]
    write_part(str(folder), label_table(rows))
    (folder / "identity.json").write_text('{"teacher": "compact@0123456789abcdef", "manifest": "m"}')
    return folder


def new_student(folder, seed: int, meta: dict, broken: bool = False):
    torch.manual_seed(seed)
    student = build_student(StudentConfig(widths=(8, 8, 8), embedding=16))
    if broken:
        with torch.no_grad():
            next(student.parameters()).fill_(float("nan"))
    folder.mkdir()
    save_student(student, folder / "student.safetensors", meta)
    return folder


def run(capfd, *arguments: object) -> dict:
    assert main([str(argument) for argument in arguments]) == 0
    return json.loads(capfd.readouterr().out)


def problem(capfd, *arguments: object) -> str:
    assert main([str(argument) for argument in arguments]) == 1
    out, err = capfd.readouterr()
    assert out == "" and "Traceback" not in err
    return [line for line in err.splitlines() if line.startswith("emovox evaluate:")][-1]


@pytest.mark.slow
def test_one_student_then_several_then_a_broken_one(ray_session, capfd, labels, tmp_path):
    a = new_student(tmp_path / "a", 1, {"prior": PRIOR, "prior_strength": 0.5, "labels": {"teacher": "senet50@1"}})
    b = new_student(tmp_path / "b", 2, {"labels": {"teacher": "compact@0123456789abcdef"}})
    alone = run(capfd, "--student", a, "--labels", labels, "--out", tmp_path / "one")
    assert {"auc", "mean_auc", "mean_auc_low", "mean_auc_high", "utterances", "speakers", "report"} <= alone.keys()
    assert (
        alone["teacher_differs"] is True
        and alone["utterances"] == 24
        and alone["splits"].keys()
        == {
            "heard",
            "unheard",
        }
    )
    scores = pd.read_parquet(tmp_path / "one" / "scores.parquet")
    _scores_are_the_students_own(scores, labels, load_student(a / "student.safetensors"))

    both = run(capfd, "--student", a, b, "--labels", labels, "--out", tmp_path / "two")
    assert both["students"]["a"] == {key: alone[key] for key in both["students"]["a"]}
    assert both["students"]["b"]["teacher_differs"] is False
    assert both["students"]["b"]["confusion"]["corrected"] is None
    difference = both["differences"]["b"]["mean_auc"]
    assert difference["value"] == pytest.approx(both["students"]["b"]["mean_auc"] - alone["mean_auc"])
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert sorted(set(pd.read_parquet(tmp_path / "two" / "scores.parquet")["student"])) == ["a", "b"]
    written = json.loads((tmp_path / "two" / "evaluation.json").read_text())
    assert (
        written == {key: both[key] for key in written} and "side by side" in (tmp_path / "two/report.html").read_text()
    )

    broken = new_student(tmp_path / "broken", 3, {}, broken=True)
    line = problem(capfd, "--student", a, broken, "--labels", labels, "--out", tmp_path / "three")
    assert "broken: NaN for utterance s0/00 (24 of 24 utterances)" in line and not (tmp_path / "three").exists()


def _scores_are_the_students_own(scores, labels, student):
    rows = pd.read_parquet(labels / "utterances").set_index("utterance_id")
    assert scores["utterance_id"].tolist() == sorted(rows.index)
    for score in scores.to_dict("records")[:3]:
        row = rows.loc[score["utterance_id"]]
        expected = student.predict(decode_flac(row["speech_flac"]), SAMPLE_RATE_HZ).numpy()
        assert score["probabilities"] == pytest.approx(expected, abs=1e-5)
        assert score["corrected"] == pytest.approx(corrected(expected, np.array(PRIOR), 0.5), abs=1e-5)
        assert score["logits"] == pytest.approx(row["logits"]) and score["teacher"] == row["teacher"]


def test_a_split_that_is_not_there_is_said_before_anything_is_scored(capfd, labels, tmp_path):
    a = new_student(tmp_path / "a", 1, {})
    line = problem(capfd, "--student", a, "--labels", labels, "--out", tmp_path / "o", "--split", "val")
    assert "split 'val', only in heard, unheard" in line and not (tmp_path / "o").exists()


def test_labels_that_do_not_belong_together_are_refused(capfd, tmp_path):
    a = new_student(tmp_path / "a", 1, {})
    mixed, old = tmp_path / "mixed", tmp_path / "old"
    write_part(str(mixed), label_table([labelled_row("s1/a"), labelled_row("s2/b", teacher="senet50@1")]))
    assert "labels of several teachers" in problem(capfd, "--student", a, "--labels", mixed, "--out", tmp_path / "o")
    table = label_table([labelled_row("s1/a")])
    storage.write_table(
        str(old / "utterances" / "part-0.parquet"), table.replace_schema_metadata({"emovox.schema_version": "0"})
    )
    assert pq.read_schema(old / "utterances" / "part-0.parquet").metadata[b"emovox.schema_version"] == b"0"
    assert "schema version 0, this program reads 1" in problem(
        capfd, "--student", a, "--labels", old, "--out", tmp_path / "o"
    )


def test_one_student_may_be_given_plainly_from_python():
    assert Evaluate(student="runs/a", labels="l", out="o").student == ("runs/a",)


def test_no_student_is_wrong_usage(capfd):
    with pytest.raises(SystemExit) as exit:
        main(["--student", "--labels", "l", "--out", "o"])
    assert exit.value.code == 2
