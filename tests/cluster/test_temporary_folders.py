"""A killed process leaves no copies for long: the next one takes them away, and nobody else's."""

import os
import subprocess
import sys
from pathlib import Path

from cluster.temporary_folders import YOUNG_S, remove_left_behind

HOLDER = """
import sys
from pathlib import Path
from cluster.temporary_folders import temporary_folder
with temporary_folder() as folder:
    Path(folder, "film.mp4").write_bytes(b"film")
    print(folder, flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> tuple[subprocess.Popen, Path]:
    """A process with a copy, and the folder of that."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, Path(process.stdout.readline().strip())


def make_old(folder: Path) -> None:
    long_ago = folder.stat().st_mtime - 2 * YOUNG_S
    os.utime(folder, (long_ago, long_ago))


def test_the_copies_of_a_killed_process_go_and_those_of_a_living_one_stay(tmp_path, monkeypatch):
    killed, left_behind = holder(tmp_path)
    living, in_use = holder(tmp_path)
    try:
        killed.kill()
        killed.wait()
        for folder in (left_behind, in_use):
            make_old(folder)
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        remove_left_behind.cache_clear()
        remove_left_behind()
        assert not left_behind.exists()
        assert (in_use / "film.mp4").read_bytes() == b"film"
    finally:
        living.communicate("")
    assert list(tmp_path.iterdir()) == []
