"""Runs `emovox distill` in its own process on a small set, for tests that disturb it while it runs."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from modeling.emotions import EMOTIONS
from modeling.students.checkpoint import load_student
from pipeline.dataset.distillation_set import write_part
from tests.support.label_rows import label_table, labelled_row

EPOCHS = 8
SECONDS = 420


def write_set(folder: Path) -> str:
    """Writes 160 training utterances, so that an epoch takes most of a second, and 12 validation utterances."""
    tones = [labelled_row(f"s/{emotion}", emotion, seconds=1.2) for emotion in EMOTIONS[:4]]
    rows = [tones[n % 4] | {"utterance_id": f"s/{n}", "speaker_id": f"s{n % 7}"} for n in range(160)]
    rows += [tones[n % 4] | {"utterance_id": f"v/{n}", "speaker_id": f"v{n % 3}", "split": "val"} for n in range(12)]
    for part in range(4):
        write_part(str(folder), label_table(rows[part::4]))
    (folder / "identity.json").write_text('{"teacher": "compact@0"}')
    return str(folder)


class Training:
    """A process of `emovox distill`, whose output goes to files next to OUT."""

    def __init__(self, labels: str, out: Path, *options: str):
        self.out = out
        self.log = Path(f"{out}.log")
        command = [sys.executable, "-m", "jobs", "distill", "--labels", labels, "--out", str(out), *options]
        command += ["--recipe", "smoke", "--epochs", str(EPOCHS)]
        with open(f"{out}.json", "w") as stdout, open(self.log, "a") as stderr:
            self.process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=stdout, stderr=stderr)

    def epoch(self) -> int:
        """The last saved epoch; 0 before the first."""
        state = self.out / "training_state.pt"
        return torch.load(state, weights_only=True)["trainer"]["epoch"] if state.exists() else 0

    def until(self, done, what: str) -> None:
        end = time.monotonic() + SECONDS
        while not done():
            assert self.process.poll() is None, f"it ended before {what}: {self.log.read_text()[-3000:]}"
            assert time.monotonic() < end, f"no {what} in {SECONDS} s: {self.log.read_text()[-3000:]}"
            time.sleep(0.05)

    def until_epoch(self, epoch: int) -> None:
        self.until(lambda: self.epoch() >= epoch, f"epoch {epoch}")
        assert self.epoch() < EPOCHS, "it was over before it could be broken"

    def workers(self) -> list[psutil.Process]:
        """Ray Train's workers of an embedded session, oldest first."""
        found = [process for process in psutil.Process(self.process.pid).children(recursive=True) if _trains(process)]
        return sorted(found, key=lambda process: process.create_time())

    def result(self) -> dict:
        code = self.process.wait(SECONDS)
        assert code == 0, self.log.read_text()[-3000:]
        return json.loads(Path(f"{self.out}.json").read_text().splitlines()[-1])

    def kill(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self.process.pid).children(recursive=True)
            self.process.kill()
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait()


def _trains(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return "TrainWorker" in " ".join(process.cmdline())
    return False


@contextlib.contextmanager
def training(labels: str, out: Path, *options: str) -> Iterator[Training]:
    run = Training(labels, out, *options)
    try:
        yield run
    finally:
        run.kill()


def record(out: Path) -> list[dict]:
    """The curve in run.json, after checking that TensorBoard shows each of its epochs once."""
    curve = json.loads((out / "run.json").read_text())["counts"]["curve"]
    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    assert [point.step for point in events.Scalars("loss")] == [metrics["step"] for metrics in curve]
    return curve


def assert_same_training(out: Path, whole: Path) -> None:
    """Asserts that every epoch occurs once, with the same losses, and that the weights are equal bit for bit."""
    curve, expected = record(out), record(whole)
    assert [(m["epoch"], m["step"], m["loss"]) for m in curve] == [(m["epoch"], m["step"], m["loss"]) for m in expected]
    for name in ("student.safetensors", "student_best.safetensors"):
        assert_same_weights(out / name, whole / name)


def assert_same_weights(one: Path, other: Path) -> None:
    ours, theirs = (load_student(str(file)).state_dict() for file in (one, other))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
