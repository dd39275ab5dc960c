"""`make fuzz`: mutated files of every container through `index`, `label` and `predict`, good ones between them.

    python -m tests.support.fuzz --seed 1 --files 200

Held: each job exits with 0, rows in = rows out, nothing takes longer than its deadline or more memory than its limit, and the
rows of the good files equal those of a run without the bad ones. Files that ended with an error nobody foresaw are listed: none
of them ended a run, but each is a bug.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import torch

from cluster.working_tree import PROJECT_ROOT
from modeling.students.build import StudentConfig, build_student
from modeling.students.checkpoint import save_student
from pipeline.assets.packages import SAMPLE_VIDEOS, fetch
from pipeline.decoding.isolated_decoder import MEMORY_BYTES
from pipeline.rejects import UNFORESEEN
from tests.support import clips
from tests.support.containers import SOUNDS, VIDEOS
from tests.support.mutations import mutated

SECONDS = 2.0
GOOD = ("mp4", "mkv", "avi", "ts")
JOB_S = 3600
OF_THE_RUN = ("decode_s", "detect_s", "teacher_s", "video_uri", "audio_uri", "split", "file", "content_sha256")


def write_seeds(folder: Path) -> list[Path]:
    """Two seconds of a talking face in every container."""
    face = fetch(SAMPLE_VIDEOS[0])[0]
    files = []
    for suffix, options in {**VIDEOS, **SOUNDS}.items():
        picture = ("-vf", "scale=192:-2") if suffix in VIDEOS and suffix != "dv" else ()
        rate = (*(() if "-ar" in options else ("-ar", 48_000)), *(() if "-ac" in options else ("-ac", 1)))
        files.append(folder / f"seed.{suffix}")
        clips.ffmpeg(
            "-i", face, "-t", SECONDS, *picture, *(("-vn",) if suffix in SOUNDS else ()), *rate, *options, files[-1]
        )
    return files


def write_corpus(seeds: list[Path], folder: Path, seed: int, count: int) -> list[str]:
    """Mutated files, and good ones in good_*; returns the names of the good."""
    rng = np.random.default_rng(seed)
    data = {path: path.read_bytes() for path in seeds}
    for number in range(count):
        path, other = (seeds[int(rng.integers(len(seeds)))] for _ in range(2))
        name = folder / f"bad_{number:05d}{path.suffix}"
        name.write_bytes(mutated(data[path], int(rng.integers(2**32)), data[other]))
    return write_good(seeds, folder)


def write_good(seeds: list[Path], folder: Path) -> list[str]:
    good = [path for path in seeds if path.suffix[1:] in GOOD]
    for path in good:
        (folder / f"good_{path.name}").write_bytes(path.read_bytes())
    return [f"good_{path.name}" for path in good]


class Watched:
    """A job as its own process, with the largest decoder that it had."""

    def __init__(self, *arguments: str):
        self.largest, self.ended = 0, threading.Event()
        command = [sys.executable, "-m", "jobs", *arguments]
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        watcher = threading.Thread(target=self._watch, args=(process.pid,))
        watcher.start()
        out, self.log = process.communicate(timeout=JOB_S)
        self.ended.set()
        watcher.join()
        self.seconds = time.monotonic() - began
        if process.returncode:
            sys.exit(f"{arguments[0]} ended with {process.returncode}:\n{self.log[-6000:]}")
        self.answer = json.loads(out.splitlines()[-1])
        print(f"{arguments[0]}: {self.seconds:.0f} s, largest process {self.largest / 2**20:.0f} MiB", flush=True)

    def _watch(self, pid: int) -> None:
        while not self.ended.wait(0.5):
            try:
                children = psutil.Process(pid).children(recursive=True)
            except psutil.NoSuchProcess:
                return
            for child in children:
                try:
                    self.largest = max(self.largest, child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue


def run_jobs(folder: Path, work: Path, student: Path) -> tuple[list[dict], list[dict]]:
    """Rows of the set and rows of `predict`."""
    work.mkdir()
    manifest, labels, answers = work / "manifest.parquet", work / "labels", work / "answers.parquet"
    jobs = [
        Watched("index", "--data", str(folder), "--out", str(manifest)),
        Watched("label", "--manifest", str(manifest), "--out", str(labels)),
        Watched("predict", str(folder), "--student", str(student), "--out", str(answers)),
    ]
    largest = max(job.largest for job in jobs)
    assert largest < MEMORY_BYTES + 2**30, f"a process took {largest / 2**30:.1f} GiB"
    rows, predicted = pq.read_table(labels / "utterances").to_pylist(), pq.read_table(answers).to_pylist()
    wanted = sorted(pq.read_table(manifest)["utterance_id"].to_pylist())
    assert sorted(row["utterance_id"] for row in rows) == wanted, "label: rows in are not rows out"
    assert sorted(Path(row["file"]).name for row in predicted) == sorted(path.name for path in folder.iterdir())
    listed = {row["video_id"] for row in rows}
    assert listed == {path.name for path in folder.iterdir() if path.suffix[1:] in VIDEOS}, "index: a file is missing"
    return rows, predicted


def good_rows(rows: list[dict], good: list[str], key: str) -> dict[str, dict]:
    """By name, without what differs from run to run."""
    kept = [row for row in rows if Path(row[key]).name in good]
    named = {row.get("utterance_id", Path(row[key]).name): row for row in kept}
    return {name: {k: _rounded(v) for k, v in named[name].items() if k not in OF_THE_RUN} for name in sorted(named)}


def _rounded(value: object) -> object:
    """Networks give other last bits to a file that is worked on beside others."""
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 3) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--files", type=int, default=150)
    parser.add_argument("--keep", type=Path, help="write the files here, to look at")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.files} mutated files", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        base = options.keep or Path(temporary)
        seeds_folder, bad, good = base / "seeds", base / "mixed", base / "good"
        for folder in (seeds_folder, bad, good):
            folder.mkdir(parents=True)
        seeds = write_seeds(seeds_folder)
        names = write_corpus(seeds, bad, options.seed, options.files)
        write_good(seeds, good)
        torch.manual_seed(0)
        student = base / "student.safetensors"
        save_student(build_student(StudentConfig(widths=(8, 16, 16), embedding=32)).eval(), student, {})
        mixed, alone = run_jobs(bad, base / "run", student), run_jobs(good, base / "alone", student)
    for found, expected, key in zip(mixed, alone, ("video_id", "file"), strict=True):
        assert repr(good_rows(found, names, key)) == repr(good_rows(expected, names, key)), "a good file's row differs"
        print(dict(Counter(row["reject_reason"] or "used" for row in found)))
        for row in found:
            if (row["reject_detail"] or "").startswith(UNFORESEEN):
                print(f"  {row[key]}: {row['reject_detail']}")
    print("held")


if __name__ == "__main__":
    main()
