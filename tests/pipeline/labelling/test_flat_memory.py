"""Memory while a set grows. Contract: with 50 times the videos the peak of the heaps of all processes stays where it was,
and the object store within its bound, though 50 times as much goes through."""

import contextlib
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from cluster.session import OBJECT_STORE_BYTES
from tests.support.memory_run import CROPS_BYTES, SPEECH_BYTES

ROOT = Path(__file__).parents[3]
VIDEOS = 200
MARK = "EMOVOX_TEST_RUN"
ROOM_MB = 300
"""What two runs of one length may differ by: a fifth of what goes through the longer one."""


def peaks_mb(videos: int, labels: Path) -> tuple[float, float]:
    """Greatest sums over all processes of a run of their own memory and of what they share through memory, the object store
    (counted once), looked at from outside four times a second."""
    mark = uuid.uuid4().hex
    command = (sys.executable, "-m", "tests.support.memory_run", str(videos), str(labels))
    looks = []
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {MARK: mark}, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None:
            processes = _marked(mark)
            looks.append([sum(_mb(process, kind) for process in processes) for kind in ("Anon", "Shmem")])
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(0.25)
    assert run.returncode == 0 and len(looks) > 10
    heap, store = (max(kind) for kind in zip(*looks, strict=True))
    return heap, store


def _marked(mark: str) -> list[Path]:
    """The processes that have the mark in their environment: Ray's are no children of the one that started them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found.append(process)
    return found


def _mb(process: Path, kind: str) -> float:
    """Its proportional share of memory of a kind: Anon, its own, or Shmem."""
    with contextlib.suppress(OSError):
        return (
            int(re.search(rf"^Pss_{kind}: +(\d+) kB", (process / "smaps_rollup").read_text(), re.MULTILINE)[1]) / 1024
        )
    return 0.0


@pytest.mark.endurance
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_fifty_times_the_videos_take_no_more_memory(tmp_path):
    small, large = (peaks_mb(videos, tmp_path / str(videos)) for videos in (VIDEOS, 50 * VIDEOS))
    print(f"heaps and store in MB: {small} with {VIDEOS} videos, {large} with 50 times as many")
    through_mb = 50 * VIDEOS * (CROPS_BYTES + SPEECH_BYTES) / 2**20
    assert through_mb > 5 * ROOM_MB and large[0] < small[0] + ROOM_MB
    assert large[1] < OBJECT_STORE_BYTES / 2**20
