"""`train-teacher` as users run it: killed and started again, with workers, and told what is wrong with the data."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from cluster.lease import lease
from jobs.evaluate_teacher import main as evaluate_teacher
from jobs.train_teacher import main
from modeling.faces.ferplus import VOTE_COLUMNS
from modeling.teachers.load import load_teacher


def write_faces(folder, split: str, n: int) -> None:
    rng = np.random.default_rng(n)
    emotions_N = rng.integers(0, 8, n)
    votes = np.zeros((n, 10), np.uint8)
    votes[np.arange(n), emotions_N] = 10
    waves = 128 + 90 * np.sin(np.arange(48) / 48 * np.pi * (1 + emotions_N[:, None]))
    faces = np.repeat(waves[:, :, None], 48, axis=2).astype(np.uint8)
    columns = {"png": [cv2.imencode(".png", face)[1].tobytes() for face in faces]}
    columns |= {name: pa.array(votes[:, index]) for index, name in enumerate(VOTE_COLUMNS)}
    pq.write_table(pa.table(columns), folder / f"{split}.parquet")


@pytest.fixture
def ferplus(tmp_path):
    folder = tmp_path / "ferplus"
    folder.mkdir()
    write_faces(folder, "train", 300)
    write_faces(folder, "valid", 60)
    return folder


def command(ferplus, out, *more: str) -> list[str]:
    return ["--data", str(ferplus), "--out", str(out), "--recipe", "smoke", *more]


def result(capfd) -> dict:
    return json.loads(capfd.readouterr().out.splitlines()[-1])


def test_it_trains_counts_and_writes_a_teacher_that_loads(ferplus, tmp_path, capfd):
    assert main(command(ferplus, tmp_path / "out")) == 0
    trained = result(capfd)
    assert trained["epochs"] == 2 and trained["train_faces"] == 300 and trained["valid_faces"] == 60
    weights = (tmp_path / "out" / "teacher.safetensors").read_bytes()
    assert load_teacher("mine", weights)(np.zeros((1, 48, 48), np.uint8)).shape == (1, 8)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["counts"]["train"]["rows"] == 300 and len(record["counts"]["curve"]) == 2
    assert main(command(ferplus, tmp_path / "out")) == 0  # done already: nothing changes
    assert (tmp_path / "out" / "teacher.safetensors").read_bytes() == weights
    assert main(command(ferplus, tmp_path / "out", "--seed", "1")) == 1
    assert "different run" in capfd.readouterr().err


def test_a_second_training_into_one_folder_is_refused_while_the_first_runs(ferplus, tmp_path, capfd):
    out = tmp_path / "out"
    with lease(str(out)):
        assert main(command(ferplus, out)) == 1
        assert f"is being written by process {os.getpid()} on" in capfd.readouterr().err
        assert [path.name for path in out.iterdir()] == ["lease.json"]
    assert main(command(ferplus, out)) == 0


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--epochs", "0"], "epochs is 0"),
        (["--workers", "-1"], "workers is -1"),
        (["--init", "x.pth"], "x.pth: neither a known teacher"),
        (["--soft-labels-from", "y.onnx"], "y.onnx: neither a known teacher"),
        (["--recipe", "second_round"], "--init compact"),
        (["--recipe", "again"], "now called `second_round`"),
        (["--recipe", "large"], "choose one of compact"),
        (["--recipe", "pretrained", "--init", "faceres.json"], "faceres.json: not found"),
    ],
)
def test_what_cannot_be_meant_is_named(ferplus, tmp_path, capfd, options, named):
    arguments = command(ferplus, tmp_path / "out")
    if options[0] == "--data":
        arguments = arguments[2:]
    try:
        code = main([*arguments, *options])
    except SystemExit as exit:
        code = exit.code
    err = capfd.readouterr().err
    assert code in (1, 2) and named in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_too_few_faces_stop_before_anything_is_written(tmp_path, capfd):
    write_faces(tmp_path, "train", 50)
    write_faces(tmp_path, "valid", 10)
    assert main(command(tmp_path, tmp_path / "out")) == 1
    assert "keeps 50 training and 10 validation faces" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_to_start_from_that_do_not_fit_are_named(ferplus, tmp_path, capfd):
    (tmp_path / "vggface2.pth").write_bytes(b"<html>")
    arguments = ["--data", str(ferplus), "--out", str(tmp_path / "out"), "--recipe", "paper"]
    assert main([*arguments, "--init", str(tmp_path / "vggface2.pth")]) == 1
    assert "--init: the file holds no PyTorch checkpoint" in capfd.readouterr().err
    assert main([*arguments, "--init", str(tmp_path / "nowhere.pth")]) == 1
    assert "nowhere.pth: not found" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_only_the_training_split_is_trained_on_when_validation_comes_from_elsewhere(ferplus, tmp_path, capfd):
    write_faces(ferplus, "test", 100)
    arguments = ["--data", str(ferplus), "--valid", str(ferplus / "valid.parquet"), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--recipe", "smoke"]) == 0
    assert result(capfd)["train_faces"] == 300


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("job", [main, evaluate_teacher])
def test_a_gpu_that_is_not_there_is_named(ferplus, tmp_path, capfd, job):
    arguments = ["--data", str(ferplus), "--out", str(tmp_path / "out"), "--gpu"]
    assert job(arguments) == 1
    assert "--gpu: torch finds no GPU" in capfd.readouterr().err


@pytest.mark.slow
def test_killed_and_started_again_it_ends_with_the_same_weights(ferplus, tmp_path, capfd):
    """kill -9 when the first epoch is on disk."""
    options = ("--epochs", "12", "--threads", "1")
    assert main(command(ferplus, tmp_path / "whole", *options)) == 0
    state = tmp_path / "killed" / "training_state.pt"
    job = subprocess.Popen(
        [sys.executable, "-m", "jobs.train_teacher", *command(ferplus, tmp_path / "killed", *options)]
    )
    while not state.exists() and job.poll() is None:
        time.sleep(0.01)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    assert not (tmp_path / "killed" / "run.json").exists()  # it had not finished
    capfd.readouterr()
    assert main(command(ferplus, tmp_path / "killed", *options)) == 0
    assert result(capfd)["epochs"] == 12
    whole, resumed = (load(tmp_path / name) for name in ("whole", "killed"))
    assert whole.keys() == resumed.keys() and all(np.array_equal(whole[name], resumed[name]) for name in whole)


def load(folder) -> dict:
    from modeling.teachers.compact import load_compact_teacher

    network = load_compact_teacher((folder / "teacher.safetensors").read_bytes())
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


@pytest.mark.slow
def test_two_workers_train_the_same_teacher_to_the_end(ray_session, ferplus, tmp_path, capfd):
    assert main(command(ferplus, tmp_path / "out", "--workers", "2")) == 0
    trained = result(capfd)
    assert trained["epochs"] == 2 and 0 <= trained["valid_accuracy"] <= 1
    assert load(tmp_path / "out")
    assert main(command(ferplus, tmp_path / "out", "--workers", "0", "--epochs", "2")) == 0  # goes on in this process


def test_a_second_round_goes_on_from_a_teacher_and_learns_from_it(ferplus, tmp_path, capfd):
    assert main(command(ferplus, tmp_path / "first")) == 0
    first = str(tmp_path / "first")
    second = command(ferplus, tmp_path / "second", "--init", first, "--soft-labels-from", first, "compact")
    assert main(second) == 0
    identity = json.loads((tmp_path / "second" / "identity.json").read_text())
    assert [name.split("@")[0] for name in identity["soft_teachers"]] == ["first", "compact"]
    assert main(command(ferplus, tmp_path / "second", "--init", first)) == 1  # other targets: another run
    assert "different run" in capfd.readouterr().err
