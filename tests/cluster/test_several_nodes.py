"""Labelling on several real Ray nodes of one machine. Contract: a stage's workers are started where its resource is; when
a node leaves for good the run goes on with the others and every utterance is there once; nodes that join while the run
waits are used; what no node can hold is refused within a minute."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.dataset.manifest import write_manifest
from tests.support.labelling_runs import manifest_of
from tests.support.placed_run import UTTERANCES_A_CLIP

ROOT = Path(__file__).parents[2]
PATIENCE_S = 500

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="several nodes a machine: Linux only"),
]


@pytest.fixture
def clips(data_dir) -> list[str]:
    folder = data_dir / "video" / "labelled"
    return [str(folder / name) for name in ("MEAD_W036_level_3_happy_007.mp4", "MEAD_M003_level_1_disgusted_015.mp4")]


def wait_until(what, process: subprocess.Popen) -> None:
    """Returns when `what()` is true. The process that is to bring it about must not end before."""
    give_up = time.monotonic() + PATIENCE_S
    while not what():
        assert process.poll() is None, "the run ended too early"
        assert time.monotonic() < give_up
        time.sleep(0.2)


def parts_of(labels: Path) -> list[Path]:
    return list((labels / "utterances").glob("*.parquet"))


def ids_in(labels: Path) -> list[str]:
    return sorted(id for part in parts_of(labels) for id in pq.read_table(part)["utterance_id"].to_pylist())


@contextlib.contextmanager
def started(*command: str, **options):
    """A process with its descendants, all of which end with the block."""
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, text=True, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_stages_land_where_declared_and_a_lost_node_costs_no_utterance(clips, tmp_path, monkeypatch):
    from ray.cluster_utils import Cluster

    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)  # which an embedded session of another test leaves behind
    (tmp_path / "notes").mkdir()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        decoders = [cluster.add_node(num_cpus=1, resources={"decode": 1}) for _ in range(2)]
        teacher = cluster.add_node(num_cpus=1, resources={"gpu_node": 1})
        cluster.wait_for_nodes()
        labels = tmp_path / "labels"
        module = (sys.executable, "-m", "tests.support.placed_run")
        arguments = (cluster.address, str(labels), str(tmp_path / "notes"), *clips)
        token = os.environ | {"RAY_AUTH_TOKEN": "0" * 32}  # of another cluster: this one asks for none
        with started(*module, *arguments, stdout=subprocess.PIPE, env=token) as run:
            wait_until(lambda: parts_of(labels), run)
            cluster.remove_node(decoders[1])  # its worker cannot be placed anywhere else
            counts = json.loads(run.communicate(timeout=PATIENCE_S)[0].splitlines()[-1])
        assert run.returncode == 0
    finally:
        cluster.shutdown()
    ids = ids_in(labels)
    assert len(ids) == len(set(ids)) == counts["rows"] == UTTERANCES_A_CLIP * len(clips)
    notes = {tuple(note.name.split("@")) for note in (tmp_path / "notes").iterdir()}
    assert notes == {("teacher", teacher.node_id), *(("crop", node.node_id) for node in decoders)}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.endurance
def test_a_plan_waits_for_nodes_that_join_and_refuses_what_no_node_offers(clips, tmp_path, monkeypatch):
    """Nodes are `ray start` processes of their own, as an engineer starts them by hand, with a token."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 32)
    manifest = manifest_of({Path(clip).stem: clip for clip in clips}, utterances=2)
    write_manifest(manifest, str(tmp_path / "manifest.parquet"))
    ray_program = str(Path(sys.executable).with_name("ray"))
    port = free_port()
    head = (ray_program, "start", "--block", "--head", f"--port={port}", "--num-cpus=1", "--include-dashboard=false")
    node = (ray_program, "start", "--block", f"--address=127.0.0.1:{port}", "--num-cpus=1", '--resources={"decode": 1}')
    label = (sys.executable, "-m", "jobs", "label", "--address", f"127.0.0.1:{port}")
    label += ("--manifest", str(tmp_path / "manifest.parquet"), "--out", str(tmp_path / "labels"))
    # Ray's sockets lie in its folder, and the path of a socket has 107 characters at most
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, started(*head, f"--temp-dir={folder}"):
        wait_for_port(port)
        start = time.monotonic()
        refused = subprocess.run(
            [*label, "--placing.teacher-resource", "gpu_node"], cwd=ROOT, capture_output=True, text=True
        )
        assert refused.returncode == 1 and time.monotonic() - start < 100  # start-up and up to 40 s of waiting
        assert "'teacher' needs a node with 1 CPU, 1 gpu_node" in refused.stderr.splitlines()[-1]
        with started(*label, "--placing.crop-resource", "decode", stdout=subprocess.PIPE) as waiting, started(*node):
            counts = json.loads(waiting.communicate(timeout=PATIENCE_S)[0].splitlines()[-1])
    assert counts["rows"] == len(manifest) and ids_in(tmp_path / "labels") == sorted(
        manifest["utterance_id"].to_pylist()
    )


def wait_for_port(port: int) -> None:
    give_up = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < give_up
            time.sleep(0.2)
