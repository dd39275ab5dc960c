"""Fetched files that lie in a cache: shared by several people, and not used where they are not what was fetched."""

import dataclasses
import hashlib
import os
import stat

import pytest

from cluster.failures import UserError
from pipeline.assets import packages
from pipeline.assets.cache import keep, kept
from pipeline.assets.packages import Asset, fetch
from pipeline.assets.weights import read_weights


@pytest.fixture
def published(web):
    """The address of a file on the web, and what stops its server."""
    folder, address, stop = web
    (folder / "x.pth").write_bytes(b"weights")
    return f"{address}/x.pth", stop


@pytest.fixture
def packaged(monkeypatch):
    """An asset, and the list of what was fetched for it: pip's part is done by the test."""
    fetched = []
    asset = Asset("a.bin", "a-package==1", "a.bin", hashlib.sha256(b"right").hexdigest(), "MIT")
    monkeypatch.setattr(packages, "_download", lambda *given: fetched.append(given))
    monkeypatch.setattr(packages, "_extract", lambda archive, asset, path: keep(path, b"right"))
    return asset, fetched


def test_weights_that_were_changed_in_the_cache_are_fetched_anew(cache, published, caplog):
    address, _ = published
    assert read_weights(address) == b"weights"
    [path] = cache.rglob("x.pth")
    path.write_bytes(b"poisons")
    assert read_weights(address) == b"weights" == path.read_bytes()
    assert "x.pth is not what was fetched any more" in caplog.text


def test_weights_that_were_changed_are_not_used_where_there_is_no_connection(cache, published):
    address, stop = published
    read_weights(address)
    stop()
    [path] = cache.rglob("x.pth")
    path.write_bytes(b"poisons")
    with pytest.raises(UserError, match="cannot be fetched"):
        read_weights(address)


def test_weights_that_an_earlier_emovox_left_are_held_to_what_they_were_at_first_use(cache, published):
    address, _ = published
    read_weights(address)
    [path] = cache.rglob("x.pth")
    path.with_name("x.pth.sha256").unlink()
    assert read_weights(address) == b"weights"
    path.write_bytes(b"poisons")
    assert kept(path) is None


def test_a_packages_file_is_checked_at_each_use(cache, packaged):
    asset, fetched = packaged
    [path] = fetch(asset)
    assert fetch(asset) == [path] and len(fetched) == 1
    path.write_bytes(b"wrong")
    assert fetch(asset)[0].read_bytes() == b"right" and len(fetched) == 2


def test_a_packages_hash_counts_and_not_what_lies_beside_the_file(cache, packaged):
    asset, fetched = packaged
    fetch(asset)
    [path] = fetch(dataclasses.replace(asset))
    keep(path, b"wrong, with its hash beside it")
    assert fetch(asset)[0].read_bytes() == b"right" and len(fetched) == 2


def test_what_one_user_has_fetched_others_can_read(cache, published, packaged):
    before = os.umask(0o022)
    try:
        read_weights(published[0])
        fetch(packaged[0])
    finally:
        os.umask(before)
    paths = [path for path in cache.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o644}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o755 for path in cache.rglob("*") if path.is_dir())


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, published):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="EMOVOX_CACHE"):
        read_weights(published[0])
