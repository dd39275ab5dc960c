"""Memory while a set grows. Contract: with 50 times the videos the peak of all processes and of the object store together
stays where it was, though 50 times as much goes through."""

import contextlib
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.pipeline.memory_run import CROPS_BYTES, SPEECH_BYTES

ROOT = Path(__file__).parents[2]
VIDEOS = 200
MARK = "EMOVOX_TEST_RUN"
ROOM_MB = 600
"""The object store of an embedded session, 512 MiB, which a short run does not fill, and what runs differ by. Two and a
half times as much goes through the longer one."""


def peak_mb(videos: int, labels: Path) -> float:
    """Greatest sum of the memory of all processes of a run (PSS: what processes share, such as the object store, counts
    once), looked at from outside four times a second."""
    mark = uuid.uuid4().hex
    command = (sys.executable, "-m", "tests.pipeline.memory_run", str(videos), str(labels))
    peak, looks = 0.0, 0
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | {MARK: mark}, stderr=subprocess.DEVNULL) as run:
        while run.poll() is None:
            peak, looks = max(peak, sum(map(_pss_mb, _marked(mark)))), looks + 1
            with contextlib.suppress(subprocess.TimeoutExpired):
                run.wait(0.25)
    assert run.returncode == 0 and looks > 10
    return peak


def _marked(mark: str) -> list[Path]:
    """The processes that have the mark in their environment: Ray's are no children of the one that started them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found.append(process)
    return found


def _pss_mb(process: Path) -> float:
    with contextlib.suppress(OSError):
        return int(re.search(r"^Pss: +(\d+) kB", (process / "smaps_rollup").read_text(), re.MULTILINE)[1]) / 1024
    return 0.0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_fifty_times_the_videos_take_no_more_memory(tmp_path):
    small, large = (peak_mb(videos, tmp_path / str(videos)) for videos in (VIDEOS, 50 * VIDEOS))
    through_mb = 50 * VIDEOS * (CROPS_BYTES + SPEECH_BYTES) / 2**20
    print(f"peak {small:.0f} MB with {VIDEOS} videos, {large:.0f} MB with 50 times as many")
    assert through_mb > 2.5 * ROOM_MB and large < small + ROOM_MB
