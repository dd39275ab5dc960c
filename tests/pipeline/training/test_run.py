"""One training into one folder: it goes on from its last state, keeps others out, and stops when it was replaced."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cluster.failures import UserError
from cluster.lease import lease
from pipeline.training.run import CheckpointWriter, TrainingPlan, train
from pipeline.training.state import STATE_FILE, read_state

EPOCHS = 3


class Counter:
    """A trainer that only counts its epochs."""

    epoch = 0

    def state(self) -> dict:
        return {"epoch": self.epoch}

    def load_state(self, state: dict) -> None:
        self.epoch = state["epoch"]


def plan(out: Path, **changes) -> TrainingPlan:
    return TrainingPlan(
        **{"name": "counting", "output_uri": str(out), "identity": {"seed": 0}, "epochs": EPOCHS} | changes
    )


def loop(after_epoch, context) -> None:
    trainer = Counter()
    checkpoints = CheckpointWriter(trainer, context)
    while trainer.epoch < EPOCHS:
        trainer.epoch += 1
        checkpoints.record({"epoch": trainer.epoch})
        checkpoints.keep_best(b"network %d" % trainer.epoch)
        checkpoints.save({"network": checkpoints.best})
        after_epoch(trainer.epoch)


def stop(epoch: int) -> None:
    if epoch == 2:
        raise InterruptedError


def go_on(epoch: int) -> None:
    pass


def test_it_goes_on_from_the_last_saved_epoch_and_does_nothing_when_all_are_done(tmp_path):
    with pytest.raises(InterruptedError):
        train(plan(tmp_path), lambda: stop, loop)
    assert read_state(str(tmp_path)).epoch == 2
    state = train(plan(tmp_path), lambda: go_on, loop)
    assert state.epoch == EPOCHS and [metrics["epoch"] for metrics in state.history] == [1, 2, 3]
    assert state.best == (tmp_path / "network").read_bytes() == b"network 3"
    again = train(plan(tmp_path), lambda: pytest.fail("nothing is left to train"), loop)
    assert again == state and not (tmp_path / "lease.json").exists()


def test_a_training_that_an_earlier_commit_began_is_continued(tmp_path):
    (tmp_path / "identity.json").write_text('{"seed": 0}')
    best = torch.tensor(list(b"network 1"), dtype=torch.uint8)
    torch.save({"trainer": {"epoch": 1}, "curve": [{"epoch": 1}], "best": best}, tmp_path / STATE_FILE)
    assert read_state(str(tmp_path)).best == b"network 1"
    state = train(plan(tmp_path), lambda: go_on, loop)
    assert [metrics["epoch"] for metrics in state.history] == [1, 2, 3]


def test_another_training_into_the_folder_is_refused(tmp_path):
    train(plan(tmp_path), lambda: go_on, loop)
    with pytest.raises(UserError, match="different run .seed was 0, now 1"):
        train(plan(tmp_path, identity={"seed": 1}), lambda: go_on, loop)


def test_a_loss_that_is_not_finite_is_told_in_one_line(tmp_path):
    def diverging(data, context):
        raise FloatingPointError("loss nan at step 3")

    with pytest.raises(UserError, match="loss nan at step 3"):
        train(plan(tmp_path), lambda: None, diverging)


TRAINING = """
import sys
from cluster.failures import UserError
from pipeline.training.run import train
from tests.pipeline.training.test_run import loop, plan

def wait(epoch):
    print("saved", epoch, flush=True)
    sys.stdin.readline()

try:
    train(plan(sys.argv[1]), lambda: wait, loop)
except UserError as error:
    print(error, flush=True)
"""


class Training:
    """Another process, which trains an epoch for each line that it is sent."""

    def __init__(self, out: Path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(out)],
            cwd=Path(__file__).parents[3],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def next_line(self) -> str:
        return self.process.stdout.readline().strip()

    def train_on(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@pytest.fixture
def training(tmp_path):
    """A process that has saved its first epoch into OUT."""
    run = Training(tmp_path / "out")
    assert run.next_line() == "saved 1"
    yield run
    run.process.kill()
    run.process.communicate()


def test_a_second_process_is_refused_while_the_first_trains(training, tmp_path):
    with pytest.raises(UserError, match=f"being written by process {training.process.pid} on"):
        train(plan(tmp_path / "out"), lambda: go_on, loop)
    training.train_on()
    assert training.next_line() == "saved 2"


@pytest.mark.parametrize("successor", ["trains", "has ended"])
def test_who_was_replaced_while_it_stood_still_writes_nothing_more(training, tmp_path, successor):
    out = tmp_path / "out"
    training.process.send_signal(signal.SIGSTOP)
    as_of_another_machine(out)
    with lease(str(out), silent_s=0.5):
        written = leave_files_of_a_successor(out)
        if successor == "trains":
            wake(training)
            assert "took this output over" in training.next_line()
    if successor == "has ended":
        wake(training)
        assert "another run, which has ended since" in training.next_line()
    assert files(out) == written


def as_of_another_machine(out: Path) -> None:
    """A stopped process of this machine would count as alive; one of another is told by its silence."""
    found = json.loads((out / "lease.json").read_text())
    (out / "lease.json").write_text(json.dumps(found | {"machine": "another boot", "host": "far"}))


def leave_files_of_a_successor(out: Path) -> dict[str, bytes]:
    for name in ("network", STATE_FILE):
        (out / name).write_bytes(b"of the successor")
    return files(out)


def files(out: Path) -> dict[str, bytes]:
    """Content by name, but for the lease."""
    return {path.name: path.read_bytes() for path in out.iterdir() if path.name != "lease.json"}


def wake(training: Training) -> None:
    training.train_on()
    training.process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_a_worker_of_a_run_that_was_replaced_writes_nothing_more(ray_session, tmp_path):
    lease_file = tmp_path / "lease.json"

    def replaced(epoch: int) -> None:
        lease_file.write_text(json.dumps(json.loads(lease_file.read_text()) | {"token": "of the successor"}))

    with pytest.raises(UserError, match="took this output over"):
        train(plan(tmp_path, workers=1), lambda: replaced, loop)
    assert read_state(str(tmp_path)).epoch == 1
