"""`emovox submit` against a real head: log, result, exit code, attach, cancel, a lost connection, tokens."""

import json
import os
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from tests.support.ray_head import TOKEN, Wire, ray_head

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    with ray_head(num_cpus=6) as found:
        yield found


@pytest.fixture
def head(cluster):
    return cluster.dashboard


def command(address: str, *words: object) -> list[str]:
    return [sys.executable, "-m", "jobs", "submit", *map(str, words), "--address", address]


def environment(token: str | None) -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return bare | {"RAY_AUTH_TOKEN": token} if token else bare | {"HOME": "/nonexistent"}


def emovox(address: str, *words: object, token: str | None = TOKEN) -> subprocess.CompletedProcess:
    return subprocess.run(command(address, *words), capture_output=True, text=True, env=environment(token), timeout=300)


MANY = 600
"""Clips that take `index` ten seconds: Ray shows the first line of a job four seconds after its start."""


@pytest.fixture
def clips(data_dir, tmp_path):
    folder = tmp_path / "two clips"  # a space: the entrypoint is a shell's line
    for number, name in enumerate(["EAMM_MEAD_contempt", "EAMM_MEAD_fear"]):
        (folder / f"speaker{number}").mkdir(parents=True)
        shutil.copy(data_dir / f"video/labelled/{name}.mp4", folder / f"speaker{number}" / f"{name}.mp4")
    return folder


@pytest.mark.endurance
def test_a_job_is_followed_through_a_cut_and_attached_again(head, clips, tmp_path, data_dir):
    shutil.copy(data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4", clips / "more.mp4")
    for number in range(MANY - 3):
        (clips / f"more{number}.mp4").hardlink_to(clips / "more.mp4")
    wire, manifest = Wire(int(head.rpartition(":")[2])), tmp_path / "m.parquet"
    words = ["--submission-id", "first", "index", "--data", clips, "--out", manifest]
    submitted = subprocess.Popen(
        command(f"http://127.0.0.1:{wire.port}", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(TOKEN),
    )
    shown = []
    for line in submitted.stderr:
        shown.append(line)
        if "Running entrypoint" in line:  # live: the job has only begun
            assert submitted.poll() is None and not manifest.exists()
            wire.cut()
    assert submitted.wait(timeout=60) == 0
    log = "".join(shown)
    assert "lost the connection" in log and "connected again" in log
    assert log.count(f"{MANY} utterances in") == 1 and log.count("Running entrypoint") == 1
    (result,) = submitted.stdout.read().splitlines()
    assert json.loads(result)["manifest"] == str(manifest) and pq.read_table(manifest).num_rows == MANY

    attached = emovox(head, "--attach", "first")
    assert (attached.returncode, attached.stdout.strip()) == (0, result)
    assert f"{MANY} utterances in" in attached.stderr
    short = emovox(head, "--attach", "first", "--tail", 1)
    assert short.stdout.strip() == result and "Running entrypoint" not in short.stderr
    assert f"{MANY} utterances in" in short.stderr

    again = emovox(head, *words)
    assert again.returncode == 1 and "first was used on this cluster already (SUCCEEDED)" in again.stderr
    (listed,) = json.loads(emovox(head, "--list").stdout)["jobs"]
    assert (listed["submission_id"], listed["status"]) == ("first", "SUCCEEDED")


def test_the_jobs_exit_code_comes_back(head, tmp_path):
    missing = emovox(head, "index", "--data", tmp_path / "nothing", "--out", tmp_path / "m.parquet")
    assert missing.returncode == 1 and missing.stdout == ""
    assert f"{tmp_path / 'nothing'}: not found" in missing.stderr and "Traceback" not in missing.stderr
    assert emovox(head, "index", "--no-such-option", "x").returncode == 2


def test_a_detached_job_is_cancelled(head, clips, tmp_path):
    words = ["--detach", "--submission-id", "long", "demo", "--clips", clips, "--out", tmp_path / "demo"]
    begun = emovox(head, *words)
    assert begun.returncode == 0 and json.loads(begun.stdout)["submission_id"] == "long"
    stopped = emovox(head, "--cancel", "long")
    assert stopped.returncode == 0 and json.loads(stopped.stdout)["status"] == "STOPPED"
    assert emovox(head, "--attach", "long").returncode == 143
    unknown = emovox(head, "--cancel", "other")
    assert unknown.returncode == 1 and "knows no job 'other'" in unknown.stderr


@pytest.mark.parametrize(("token", "said"), [("wrong", "does not accept this token"), (None, "asks for a token")])
def test_a_wrong_or_missing_token_is_refused_in_one_line(head, token, said):
    refused = emovox(head, "--list", token=token)
    assert refused.returncode == 1 and refused.stdout == ""
    (line,) = refused.stderr.splitlines()
    assert said in line and "RAY_AUTH_TOKEN" in line


@pytest.mark.parametrize("token", ["wrong", None])
def test_a_driver_without_the_clusters_token_is_told_so_in_one_line(cluster, clips, tmp_path, token):
    words = ["demo", "--clips", clips, "--out", tmp_path / "demo", "--address", cluster.address]
    command = [sys.executable, "-m", "jobs", *map(str, words)]
    refused = subprocess.run(command, capture_output=True, text=True, env=environment(token), timeout=120)
    assert refused.returncode == 1 and refused.stdout == "" and "Traceback" not in refused.stderr
    said = refused.stderr.splitlines()[-1]
    assert "RAY_AUTH_TOKEN" in said and cluster.address in said
