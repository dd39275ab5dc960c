"""`emovox evaluate` as users run it: one student, several, and input that cannot be scored."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from cluster import storage
from jobs.evaluate import Evaluate, main
from modeling.distillation.baseline import SpeakerBaseline
from modeling.emotions import EMOTIONS
from modeling.sampling import SAMPLE_RATE_HZ
from modeling.students.build import StudentConfig, build_student
from modeling.students.checkpoint import load_student, save_student
from modeling.students.prior import corrected
from pipeline.dataset.distillation_set import write_part
from pipeline.media.flac import decode_flac
from tests.support.job_calls import answer_of, problem_of_job
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


def new_student(folder, seed: int, meta: dict, first_weights: float | None = None):
    torch.manual_seed(seed)
    student = build_student(StudentConfig(widths=(8, 8, 8), embedding=16))
    if first_weights is not None:
        with torch.no_grad():
            next(student.parameters()).fill_(first_weights)
    folder.mkdir()
    save_student(student, folder / "student.safetensors", meta)
    return folder


@pytest.fixture(scope="module")
def a(tmp_path_factory):
    meta = {"prior": PRIOR, "prior_strength": 0.5, "labels": {"teacher": "senet50@1"}}
    return new_student(tmp_path_factory.mktemp("students") / "a", 1, meta)


@pytest.fixture(scope="module")
def alone(labels, a, tmp_path_factory):
    """Folder and answer of an evaluation of one student."""
    out = tmp_path_factory.mktemp("one") / "one"
    return out, answer_of("evaluate", "--student", a, "--labels", labels, "--out", out)


@pytest.fixture(scope="module")
def both(labels, a, tmp_path_factory):
    """Folder and answer of an evaluation of two students."""
    folder = tmp_path_factory.mktemp("two")
    b = new_student(folder / "b", 2, {"labels": {"teacher": "compact@0123456789abcdef"}})
    return folder / "two", answer_of("evaluate", "--student", a, b, "--labels", labels, "--out", folder / "two")


def test_one_student_is_scored_over_all_and_for_each_split(alone):
    _, answer = alone
    assert {"auc", "mean_auc", "mean_auc_low", "mean_auc_high", "utterances", "speakers", "report"} <= answer.keys()
    assert answer["teacher_differs"] is True and answer["utterances"] == 24
    assert answer["splits"].keys() == {"heard", "unheard"}


def test_the_written_scores_are_the_students_own_beside_the_teachers_logits(alone, labels, a):
    scores, student = pd.read_parquet(alone[0] / "scores.parquet"), load_student(a / "student.safetensors")
    rows = pd.read_parquet(labels / "utterances").set_index("utterance_id")
    assert scores["utterance_id"].tolist() == sorted(rows.index)
    for score in scores.to_dict("records")[:3]:
        row = rows.loc[score["utterance_id"]]
        expected = student.predict(decode_flac(row["speech_flac"]), SAMPLE_RATE_HZ).numpy()
        assert score["probabilities"] == pytest.approx(expected, abs=1e-5)
        assert score["corrected"] == pytest.approx(corrected(expected, np.array(PRIOR), 0.5), abs=1e-5)
        assert score["logits"] == pytest.approx(row["logits"]) and score["teacher"] == row["teacher"]


@pytest.mark.slow
def test_on_ray_and_in_this_process_the_scores_are_the_same(ray_session, both, labels, a, tmp_path):
    here, b, there = both[0], both[0].parent / "b", tmp_path / "there"
    answer = answer_of("evaluate", "--student", a, b, "--labels", labels, "--out", there, "--address", "local")
    tables = [pd.read_parquet(folder / "scores.parquet") for folder in (here, there)]
    pd.testing.assert_frame_equal(*tables, check_exact=False, atol=1e-6)
    for name, figures in answer["students"].items():
        assert figures["mean_auc"] == pytest.approx(both[1]["students"][name]["mean_auc"])


def test_a_small_set_is_scored_without_importing_ray(labels, a, tmp_path):
    program = (
        "import sys; from jobs.evaluate import main; code = main(sys.argv[1:]); sys.exit(code or 'ray' in sys.modules)"
    )
    arguments = ["--student", a, "--labels", labels, "--out", tmp_path / "out"]
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_truth_can_be_without_resting_faces(alone, labels, a, tmp_path):
    """The offsets are those of all utterances of the set, whatever split is asked for and however many students there are."""
    rows = pd.read_parquet(labels / "utterances").sort_values("utterance_id")
    logits_NE, speakers = np.stack(rows["logits"].tolist()), rows["speaker_id"].tolist()
    expected_NE = SpeakerBaseline.of(logits_NE, speakers).removed(logits_NE, speakers)
    arguments = ("--student", a, "--labels", labels, "--split", "heard", "--speaker-baseline")
    answer = answer_of("evaluate", *arguments, "--out", tmp_path / "out")
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert np.allclose(np.stack(scores["logits"].tolist()), expected_NE, atol=1e-5)
    assert scores["emotion"].tolist() == [EMOTIONS[k] for k in expected_NE.argmax(1)]
    assert answer["speaker_baseline"] is True and alone[1]["speaker_baseline"] is False


def test_a_student_among_several_is_scored_as_it_is_alone(alone, both):
    first, second = both[1]["students"]["a"], both[1]["students"]["b"]
    assert first == {key: alone[1][key] for key in first}
    assert second["teacher_differs"] is False and second["confusion"]["corrected"] is None


def test_several_students_are_compared_on_the_same_utterances(alone, both):
    difference = both[1]["differences"]["b"]["mean_auc"]
    assert difference["value"] == pytest.approx(both[1]["students"]["b"]["mean_auc"] - alone[1]["mean_auc"])
    assert difference["low"] <= difference["value"] <= difference["high"]


def test_scores_figures_and_page_of_several_students_are_written(both):
    out, answer = both
    assert sorted(set(pd.read_parquet(out / "scores.parquet")["student"])) == ["a", "b"]
    written = json.loads((out / "evaluation.json").read_text())
    assert written == {key: answer[key] for key in written}
    assert "side by side" in (out / "report.html").read_text()


def test_a_student_that_answers_nan_is_named_and_nothing_is_written(capfd, labels, a, tmp_path):
    broken = new_student(tmp_path / "broken", 3, {}, first_weights=1e38)
    line = problem_of_job(capfd, "evaluate", ["--student", a, broken, "--labels", labels, "--out", tmp_path / "three"])
    assert "broken: NaN for utterance s0/00 (24 of 24 utterances)" in line and not (tmp_path / "three").exists()


def test_a_student_whose_weights_are_nan_is_refused_by_its_file(capfd, labels, a, tmp_path):
    broken = new_student(tmp_path / "broken", 3, {}, first_weights=float("nan"))
    line = problem_of_job(capfd, "evaluate", ["--student", a, broken, "--labels", labels, "--out", tmp_path / "three"])
    assert "broken/student.safetensors" in line and "1 with NaN or infinity (stem.0.weight)" in line
    assert not (tmp_path / "three").exists()


def test_a_split_that_is_not_there_is_said_before_anything_is_scored(capfd, labels, a, tmp_path):
    line = problem_of_job(
        capfd, "evaluate", ["--student", a, "--labels", labels, "--out", tmp_path / "o", "--split", "val"]
    )
    assert "split 'val', only in heard, unheard" in line and not (tmp_path / "o").exists()


def test_labels_of_several_teachers_are_refused(capfd, a, tmp_path):
    mixed = tmp_path / "mixed"
    write_part(str(mixed), label_table([labelled_row("s1/a"), labelled_row("s2/b", teacher="senet50@1")]))
    assert "labels of several teachers" in problem_of_job(
        capfd, "evaluate", ["--student", a, "--labels", mixed, "--out", tmp_path / "o"]
    )


def test_labels_of_another_version_are_refused(capfd, a, tmp_path):
    old, table = tmp_path / "old", label_table([labelled_row("s1/a")])
    storage.write_table(
        str(old / "utterances" / "part-0.parquet"), table.replace_schema_metadata({"emovox.schema_version": "0"})
    )
    assert pq.read_schema(old / "utterances" / "part-0.parquet").metadata[b"emovox.schema_version"] == b"0"
    line = problem_of_job(capfd, "evaluate", ["--student", a, "--labels", old, "--out", tmp_path / "o"])
    assert "schema version 0, this program reads 1" in line


def test_one_student_may_be_given_plainly_from_python():
    assert Evaluate(student="runs/a", labels="l", out="o").student == ("runs/a",)


def test_no_student_is_wrong_usage(capfd):
    with pytest.raises(SystemExit) as exit:
        main(["--student", "--labels", "l", "--out", "o"])
    assert exit.value.code == 2
