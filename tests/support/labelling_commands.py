"""Runs `emovox label` in its own process on a few real clips, for tests that disturb it while it runs."""

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa

from pipeline.dataset import distillation_set
from pipeline.dataset.manifest import write_manifest
from pipeline.schema import DISTILLATION_SCHEMA
from tests.support.labelling_runs import manifest_of

SECONDS = 300
CLIPS = {
    "happy": "labelled/MEAD_W036_level_3_happy_007.mp4",
    "disgusted": "labelled/MEAD_M026_level_3_disgusted_018.mp4",
    "angry": "labelled/MEAD_M030_level_3_angry_016.mp4",
    "talk": "unlabelled/SadTalker_WDA_EdMarkey0_000.mp4",
    "no_face": "odd/torchcodec_nasa_13013.mp4",
    "text": "derived/text_file.mp4",
}
UTTERANCES = 3
NUMBERS = itertools.count()


def write_small_manifest(data_dir: Path, path: Path) -> str:
    """Writes a manifest of 18 utterances of one second, some of them rejects; for two workers, parts have at most three."""
    files = {name: str(data_dir / "video" / clip) for name, clip in CLIPS.items()}
    write_manifest(manifest_of(files, UTTERANCES), str(path))
    return str(path)


class Labelling:
    """A process of `emovox label`, or of another job that writes a set, whose output goes to files beside its input."""

    def __init__(self, folder: Path, out: Path, *words: str):
        """words: the job and its options, but for --out."""
        self.out = out
        number = next(NUMBERS)
        self.log, self.answer = (folder / f"{number}.{kind}" for kind in ("log", "json"))
        command = [sys.executable, "-m", "jobs", *words, "--out", str(out)]
        with open(self.answer, "w") as stdout, open(self.log, "w") as stderr:
            self.process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=stdout, stderr=stderr)

    def until(self, done, what: str) -> None:
        end = time.monotonic() + SECONDS
        while not done():
            assert self.process.poll() is None, f"it ended before {what}: {self.log.read_text()[-3000:]}"
            assert time.monotonic() < end, f"no {what} in {SECONDS} s: {self.log.read_text()[-3000:]}"
            time.sleep(0.02)

    def until_parts(self, number: int) -> None:
        self.until(lambda: len(parts(self.out)) >= number, f"{number} parts")

    def workers(self, stage: str = "PartLabeller") -> list[int]:
        """Process ids of a stage's actors. stage: name of its class in `pipeline.labelling.operators`."""
        return [pid for pid, command in descendants(self.process.pid).items() if stage in command]

    def end(self) -> tuple[int, dict | None, list[str]]:
        """Waits for the end. Returns the exit code, the JSON in the last line of stdout, and the lines of stderr."""
        code = self.process.wait(SECONDS)
        said = self.answer.read_text().splitlines()
        return code, json.loads(said[-1]) if said else None, self.log.read_text().splitlines()

    def result(self) -> dict:
        code, answer, lines = self.end()
        assert code == 0, "\n".join(lines)[-3000:]
        return answer

    def stand_still(self) -> list[int]:
        """Suspends all its processes, as pausing a container does. Returns their ids."""
        pids = [self.process.pid, *descendants(self.process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def kill(self) -> None:
        """Kills the command itself with SIGKILL; the processes of its embedded Ray end with it."""
        self.process.kill()
        self.process.wait()


def descendants(pid: int) -> dict[int, str]:
    """Process id -> command line, for all descendants of a process."""
    found: dict[int, str] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                found[process.pid] = " ".join(process.cmdline())
    return found


@contextlib.contextmanager
def _run(folder: Path, out: Path, *words: str) -> Iterator[Labelling]:
    run = Labelling(folder, out, *words)
    try:
        yield run
    finally:
        family = descendants(run.process.pid)
        run.kill()
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def labelling(manifest: str, out: Path, *options: str) -> contextlib.AbstractContextManager[Labelling]:
    workers = () if "--crop-workers" in options else ("--crop-workers", "2")
    return _run(Path(manifest).parent, out, "label", "--manifest", manifest, *options, *workers)


def importing(mat: Path, speech: Path, out: Path) -> contextlib.AbstractContextManager[Labelling]:
    words = ("--logits", str(mat), "--speech", str(speech), "--workers", "2")
    return _run(mat.parent, out, "import-labels", *words)


def parts(out: Path) -> dict[str, tuple[int, int]]:
    """The parts that a reader sees: name -> inode and time, which a rewrite would change."""
    files = (out / "utterances").glob("*.parquet")
    return {file.name: (file.stat().st_ino, file.stat().st_mtime_ns) for file in files}


def rows_without_times(out: Path) -> pa.Table:
    names = [name for name in DISTILLATION_SCHEMA.names if name not in ("decode_s", "detect_s", "teacher_s")]
    return distillation_set.read_labels(str(out), names).sort_by("utterance_id").combine_chunks()
