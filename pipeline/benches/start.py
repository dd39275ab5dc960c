"""How soon a command answers: its help, and one short file, compared with the import of torch, which is the floor."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cluster.failures import UserError
from cluster.progress import progress
from cluster.run_record import RunRecord
from cluster.working_tree import python_path
from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.benches.measuring import interleaved
from pipeline.benches.options import BenchStart

LIMITS_S = {"help": 0.3, "job_help": 0.7, "predict": 2.5}
"""Aims on two idle cores: user time of the helps, wall time of `predict`."""

MADE_UP_S = 10
NOISE_LEVEL = 3000.0

UNITS = {"*.user_s": "s", "*.wall_s": "s", "over_floor": "ratio"}
"""Quantities that --record writes."""


@dataclass(frozen=True)
class Taken:
    """What a process took. user_s: CPU time in user mode, with that of the processes that it waited for."""

    user_s: float
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class StartResult:
    """Medians. help: `emovox --help`; job_help: `emovox label --help`; predict: `emovox predict one.wav`; floor: `import torch`.
    over_floor: wall time of `predict` over the floor's. within_limits: whether each stays within `LIMITS_S`, which hold for
    an idle machine of two cores."""

    help: Taken
    job_help: Taken
    predict: Taken
    floor: Taken
    over_floor: float
    limits_s: dict[str, float]
    within_limits: dict[str, bool]


def bench_start(options: BenchStart, record: RunRecord) -> StartResult:
    with tempfile.TemporaryDirectory(prefix="emovox-start-") as folder:
        sound = options.file or _noise(Path(folder, "one.wav"))
        commands = {
            "help": ["-m", "jobs", "--help"],
            "job_help": ["-m", "jobs", "label", "--help"],
            "predict": ["-m", "jobs", "predict", sound],
            "floor": ["-c", "import torch"],
        }
        with progress((options.repeats + 1) * len(commands), "start", "commands") as bar:

            def run(words: list[str]) -> Taken:
                taken = taken_by([sys.executable, *words])
                bar.update()
                return taken

            ways = {name: lambda words=words: run(words) for name, words in commands.items()}
            interleaved(ways, 1)  # untimed: files come into memory, and weights that are not there are fetched
            taken = {name: _median(each) for name, each in interleaved(ways, options.repeats).items()}
    reached = {name: taken[name].wall_s if name == "predict" else taken[name].user_s for name in LIMITS_S}
    return StartResult(
        **taken,
        over_floor=round(taken["predict"].wall_s / taken["floor"].wall_s, 2),
        limits_s=LIMITS_S,
        within_limits={name: reached[name] <= limit for name, limit in LIMITS_S.items()},
    )


def taken_by(command: list[str]) -> Taken:
    """Runs a command to its end and says what it took. Raises UserError with its last line if it fails."""
    environment = os.environ | {"PYTHONPATH": python_path(os.environ.get("PYTHONPATH", ""))}
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
        if process.returncode != 0:
            said.seek(0)
            last = "".join(said.read().strip().splitlines()[-1:])
            raise UserError(f"{' '.join(command[1:])} ended with exit code {process.returncode}: {last}")
    return Taken(usage.ru_utime, wall_s)


def _median(each: list[Taken]) -> Taken:
    return Taken(*(round(statistics.median(getattr(one, name) for one in each), 2) for name in ("user_s", "wall_s")))


def _noise(path: Path) -> str:
    samples = np.random.default_rng(0).normal(0, NOISE_LEVEL, MADE_UP_S * SAMPLE_RATE_HZ).astype(np.int16)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE_HZ, len(samples), "NONE", ""))
        file.writeframes(samples.tobytes())
    return str(path)
