"""What a user sees of the jobs: help, exit codes, the last line of stdout, and one clear line when something is wrong."""

import importlib
import json
import subprocess
import sys

import pytest

from jobs.__main__ import JOBS
from pipeline.dataset.distillation_set import write_part
from tests.support.label_rows import label_table, labelled_row


def run(job: str, *arguments: object) -> int:
    return importlib.import_module(f"jobs.{job}").main([str(argument) for argument in arguments])


def problem(capfd, job: str, *arguments: object) -> str:
    """The line that a job ends with; asserts exit code 1, an empty stdout and no traceback."""
    assert run(job, *arguments) == 1
    out, err = capfd.readouterr()
    assert out == "" and "Traceback" not in err
    return [line for line in err.splitlines() if line.startswith(f"emovox {job.replace('_', '-')}:")][-1]


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
    from pipeline.dataset.manifest import write_manifest
    from tests.pipeline.labelling.test_run import manifest_of

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
    assert "neither a compact teacher (safetensors) nor a PyTorch checkpoint" in problem(capfd, "label", *arguments)
    assert not (tmp_path / "labels").exists()


def test_a_missing_manifest_is_named_with_the_next_step(capfd, tmp_path):
    line = problem(capfd, "label", "--manifest", tmp_path / "no.parquet", "--out", tmp_path / "labels")
    assert "no.parquet" in line and "emovox index" in line
    assert not (tmp_path / "labels").exists()


def test_an_empty_folder_of_clips_says_what_is_expected_there(capfd, tmp_path):
    line = problem(capfd, "index", "--data", tmp_path, "--out", tmp_path / "m.parquet")
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
    line = problem(capfd, "evaluate", "--student", student, "--labels", labels, "--out", tmp_path / "evaluation")
    assert "student.safetensors" in line and "not a safetensors file" in line


def test_a_folder_with_another_run_is_not_written_over(capfd, labels, tmp_path):
    other = tmp_path / "student"
    other.mkdir()
    (other / "identity.json").write_text('{"labels": "others"}')
    line = problem(capfd, "distill", "--labels", labels, "--out", other, "--recipe", "smoke")
    assert "different run" in line
    assert [path.name for path in other.iterdir()] == ["identity.json"]


def test_labels_without_the_split_say_which_they_have(capfd, tmp_path):
    write_part(str(tmp_path), label_table([labelled_row("s1/a", split="heard")]))
    (tmp_path / "identity.json").write_text("{}")
    line = problem(capfd, "distill", "--labels", tmp_path, "--out", tmp_path / "student")
    assert "split 'train'" in line and "'heard': 1" in line


def test_predict_names_a_path_that_is_not_there(capfd, tmp_path):
    assert "nowhere.wav: not found" in problem(
        capfd, "predict", tmp_path / "nowhere.wav", "--student", "x", "--out", tmp_path / "p.parquet"
    )


@pytest.mark.slow
def test_labels_to_student_to_scores_to_predictions(ray_session, capfd, tmp_path):
    """The jobs after labelling, on sounds that tell the emotion by their pitch."""
    import numpy as np
    import pandas as pd
    import soundfile

    emotions = ["neutral", "happiness"]
    splits = ["train"] * 16 + ["heard"] * 12
    rows = [labelled_row(f"s{n % 6}/{n}", emotions[n % 2], split) for n, split in enumerate(splits)]
    labels, student, scores = (tmp_path / name for name in ("labels", "student", "evaluation"))
    write_part(str(labels), label_table(rows))
    (labels / "identity.json").write_text("{}")
    assert run("distill", "--labels", labels, "--out", student, "--recipe", "compact", "--epochs", 12) == 0
    distilled = json.loads(capfd.readouterr().out)
    assert distilled["steps"] == 12 and distilled["loss"] > 0
    assert run("evaluate", "--student", student, "--labels", labels, "--out", scores) == 0
    evaluated = json.loads(capfd.readouterr().out)
    assert evaluated["auc"]["neutral"] == pytest.approx(
        {"value": 1.0, "low": 1.0, "high": 1.0, "positives": 6}, abs=0.2
    )
    assert (
        evaluated["auc"]["fear"]["value"] is None
        and (scores / "report.html").exists()
        and (scores / "run.json").exists()
    )

    t = np.arange(25 * 44_100) / 44_100
    soundfile.write(tmp_path / "long.wav", np.stack([0.3 * np.sin(2 * np.pi * 400 * t)] * 2, axis=1), 44_100)
    (tmp_path / "not_sound.wav").write_text("not sound")
    table = tmp_path / "predictions.parquet"
    files = [tmp_path / "long.wav", tmp_path / "not_sound.wav"]
    assert run("predict", *files, "--student", student, "--out", table, "--embeddings") == 0
    predicted = pd.read_parquet(table)
    assert predicted["seconds"][0] == pytest.approx(25.0, abs=0.01)
    assert predicted[["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"]].iloc[
        0
    ].sum() == pytest.approx(1, abs=1e-4)
    assert predicted["reject_reason"].fillna("").tolist() == ["", "not_a_video"] and len(predicted["embedding"][0]) > 0
    assert (tmp_path / "predictions.run.json").exists()
