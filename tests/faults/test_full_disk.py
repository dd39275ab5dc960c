"""Contract: a full disk under the output ends labelling with one line; no half part is seen, and the same command goes on
when there is room again."""

import pyarrow.parquet as pq
import pytest

from tests.support.labelling_commands import labelling, parts, write_small_manifest
from tests.support.small_disks import small_disk_at

pytestmark = pytest.mark.slow

ROOM = 150_000
"""Bytes left at first: a part or two of the seven."""


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB with room for ROOM."""
    with small_disk_at(tmp_path / "disk", "1m") as disk:
        (disk / "filler").write_bytes(bytes(2**20 - ROOM))
        yield disk


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(data_dir, small_disk, tmp_path):
    manifest = write_small_manifest(data_dir, tmp_path / "m.parquet")
    out = small_disk / "labels"
    with labelling(manifest, out) as run:
        code, answer, lines = run.end()
    assert code == 1 and answer is None
    problem = [line for line in lines if line.startswith("emovox label: ")]
    assert problem == lines[-1:] and str(out) in problem[0] and "the disk is full; free room" in problem[0]
    assert not any("Traceback" in line for line in lines), "\n".join(lines)
    finished = parts(out)
    assert 0 < sum(pq.read_metadata(out / "utterances" / name).num_rows for name in finished) < 18
    assert not (out / "lease.json").exists()
    (small_disk / "filler").unlink()
    with labelling(manifest, out) as run:
        assert run.result()["rows"] == 18
    assert finished.items() <= parts(out).items()
    assert not list(out.rglob(".*"))  # nor what a write that failed began
