"""What a user sees of the jobs: help, exit codes, the last line of stdout, and one clear line when something is wrong."""

import importlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile

from jobs.__main__ import JOBS
from modeling.emotions import EMOTIONS
from pipeline.dataset.distillation_set import write_part
from pipeline.dataset.manifest import write_manifest
from tests.support.job_calls import answer_of, problem_of_job
from tests.support.label_rows import label_table, labelled_row
from tests.support.labelling_runs import manifest_of


def run(job: str, *arguments: object) -> int:
    return importlib.import_module(f"jobs.{job}").main([str(argument) for argument in arguments])


@pytest.mark.parametrize("job", JOBS)
def test_every_job_explains_its_options(job, capfd):
    with pytest.raises(SystemExit) as exit:
        run(job.replace("-", "_"), "--help")
    assert exit.value.code == 0
    assert "--address" in capfd.readouterr().out


@pytest.mark.parametrize("job", [[], ["label"], ["bench"], ["bench", "scale"], ["submit"]])
def test_help_whose_reader_has_seen_enough_ends_quietly(job):
    with subprocess.Popen(
        [sys.executable, "-m", "jobs", *job, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as helping:
        helping.stdout.close()
        assert helping.stderr.read() == ""
    assert helping.returncode == 0


@pytest.mark.parametrize(
    "arguments", [["label"], ["label", "--manifest", "m", "--out", "o", "--unknown"], ["nonsense"], []]
)
def test_wrong_usage_exits_2(arguments):
    done = subprocess.run([sys.executable, "-m", "jobs", *arguments], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""


@pytest.mark.parametrize(
    ("job", "arguments"),
    [
        ("distill", ["--labels", "l", "--out", "o", "--epochs", "-3"]),
        ("distill", ["--labels", "l", "--out", "o", "--workers", "-1"]),
        ("label", ["--manifest", "m", "--out", "o", "--crop-workers", "0"]),
        ("label", ["--manifest", "m", "--out", "o", "--crops.decoder", "foo"]),
        ("label", ["--manifest", "m", "--out", "o", "--crops.thumbnails", "-1"]),
        ("index", ["--data", "d", "--out", "o", "--clips.utterance-s", "-4"]),
    ],
)
def test_values_that_cannot_be_meant_are_wrong_usage(job, arguments, capfd):
    with pytest.raises(SystemExit) as exit:
        run(job, *arguments)
    assert exit.value.code == 2
    assert "Traceback" not in capfd.readouterr().err


def test_a_wrong_teacher_file_stops_before_anything_is_written(capfd, tmp_path):
    write_manifest(manifest_of({"a": "/a.mp4"}), str(tmp_path / "m.parquet"))
    (tmp_path / "teacher.safetensors").write_bytes(b"garbage")
    arguments = [
        "--manifest",
        tmp_path / "m.parquet",
        "--out",
        tmp_path / "labels",
        "--teacher",
        tmp_path / "teacher.safetensors",
    ]
    assert "neither a compact teacher (safetensors) nor a PyTorch checkpoint" in problem_of_job(
        capfd, "label", arguments
    )
    assert not (tmp_path / "labels").exists()


def test_a_missing_manifest_is_named_with_the_next_step(capfd, tmp_path):
    line = problem_of_job(capfd, "label", ["--manifest", tmp_path / "no.parquet", "--out", tmp_path / "labels"])
    assert "no.parquet" in line and "emovox index" in line
    assert not (tmp_path / "labels").exists()


def test_an_empty_folder_of_clips_says_what_is_expected_there(capfd, tmp_path):
    line = problem_of_job(capfd, "index", ["--data", tmp_path, "--out", tmp_path / "m.parquet"])
    assert ".mp4" in line and not (tmp_path / "m.parquet").exists()


@pytest.fixture
def labels(tmp_path):
    folder = tmp_path / "labels"
    write_part(str(folder), label_table([labelled_row("s1/a"), labelled_row("s2/b", "happiness", "heard")]))
    (folder / "identity.json").write_text('{"teacher": "compact@0"}')
    return folder


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 something else", b"\x10\0\0\0\0\0\0\0{broken json....}"])
def test_a_corrupt_student_is_named(capfd, labels, tmp_path, content):
    student = tmp_path / "student.safetensors"
    student.write_bytes(content)
    line = problem_of_job(
        capfd, "evaluate", ["--student", student, "--labels", labels, "--out", tmp_path / "evaluation"]
    )
    assert "student.safetensors" in line and "not a safetensors file" in line


def test_a_folder_with_another_run_is_not_written_over(capfd, labels, tmp_path):
    other = tmp_path / "student"
    other.mkdir()
    (other / "identity.json").write_text('{"labels": "others"}')
    line = problem_of_job(capfd, "distill", ["--labels", labels, "--out", other, "--recipe", "smoke"])
    assert "different run" in line
    assert [path.name for path in other.iterdir()] == ["identity.json"]


def test_labels_without_the_split_say_which_they_have(capfd, tmp_path):
    write_part(str(tmp_path), label_table([labelled_row("s1/a", split="heard")]))
    (tmp_path / "identity.json").write_text("{}")
    line = problem_of_job(capfd, "distill", ["--labels", tmp_path, "--out", tmp_path / "student"])
    assert "split 'train'" in line and "'heard': 1" in line


def test_predict_names_a_path_that_is_not_there(capfd, tmp_path):
    assert "nowhere.wav: not found" in problem_of_job(
        capfd, "predict", [tmp_path / "nowhere.wav", "--student", "x", "--out", tmp_path / "p.parquet"]
    )


@pytest.fixture(scope="module")
def distilled(ray_session, tmp_path_factory):
    """Labels on sounds that tell the emotion by their pitch, the student distilled from them, and the job's answer."""
    folder = tmp_path_factory.mktemp("distilled")
    emotions, splits = ["neutral", "happiness"], ["train"] * 16 + ["heard"] * 12
    rows = [labelled_row(f"s{n % 6}/{n}", emotions[n % 2], split) for n, split in enumerate(splits)]
    labels, student = folder / "labels", folder / "student"
    write_part(str(labels), label_table(rows))
    (labels / "identity.json").write_text("{}")
    answer = answer_of("distill", "--labels", labels, "--out", student, "--recipe", "compact", "--epochs", 12)
    return labels, student, answer


@pytest.mark.slow
def test_distill_says_what_it_did(distilled):
    answer = distilled[2]
    assert answer["steps"] == 12 and answer["loss"] > 0


@pytest.mark.slow
def test_evaluate_finds_what_the_student_has_learned_and_says_what_it_cannot_estimate(distilled, tmp_path):
    labels, student, _ = distilled
    scores = tmp_path / "evaluation"
    auc = answer_of("evaluate", "--student", student, "--labels", labels, "--out", scores)["auc"]
    assert auc["neutral"] == pytest.approx({"value": 1.0, "low": 1.0, "high": 1.0, "positives": 6}, abs=0.2)
    assert auc["fear"]["value"] is None
    assert (scores / "report.html").exists() and (scores / "run.json").exists()


@pytest.mark.slow
def test_predict_answers_for_long_stereo_sound_and_rejects_what_is_none(distilled, tmp_path):
    t = np.arange(25 * 44_100) / 44_100
    soundfile.write(tmp_path / "long.wav", np.stack([0.3 * np.sin(2 * np.pi * 400 * t)] * 2, axis=1), 44_100)
    (tmp_path / "not_sound.wav").write_text("not sound")
    files, table = [tmp_path / "long.wav", tmp_path / "not_sound.wav"], tmp_path / "predictions.parquet"
    answer_of("predict", *files, "--student", distilled[1], "--out", table, "--embeddings")
    predicted = pd.read_parquet(table)
    assert predicted["seconds"][0] == pytest.approx(25.0, abs=0.01)
    assert predicted[list(EMOTIONS)].iloc[0].sum() == pytest.approx(1, abs=1e-4)
    assert predicted["reject_reason"].fillna("").tolist() == ["", "not_a_video"] and len(predicted["embedding"][0]) > 0
    assert (tmp_path / "predictions.run.json").exists()
