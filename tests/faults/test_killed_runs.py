"""Contract: a labelling run may lose any of its processes at any time. Given again, the same command goes on; at the end
every utterance is there exactly once, the table is that of an undisturbed run, and no finished part was made again."""

import json
import os
import random
import shutil
import signal

import pytest

from pipeline.dataset.manifest import read_manifest, write_manifest
from pipeline.planning.rates import read_rates
from tests.support.labelling_commands import labelling, parts, rows_without_times, write_small_manifest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def manifest(data_dir, tmp_path_factory):
    return write_small_manifest(data_dir, tmp_path_factory.mktemp("manifest") / "m.parquet")


@pytest.fixture(scope="module")
def whole(manifest, tmp_path_factory):
    """Folder and counts of the run that nothing disturbs."""
    out = tmp_path_factory.mktemp("whole") / "labels"
    with labelling(manifest, out) as run:
        return out, run.result()


def counts(answer: dict) -> dict:
    return {name: answer[name] for name in ("rows", "labelled", "rejected", "reasons")}


def assert_is_as(out, answer, whole) -> None:
    undisturbed, its_answer = whole
    assert counts(answer) == counts(its_answer) and answer["labelled"] >= 9 and answer["rejected"] >= 6
    assert rows_without_times(out).equals(rows_without_times(undisturbed))
    assert sorted(path.name for path in out.iterdir()) == ["identity.json", "run.json", "utterances"]


def test_killed_twice_and_given_again(manifest, whole, tmp_path):
    out = tmp_path / "labels"
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # shown by pytest when it fails
    chance = random.Random(seed)
    finished: dict = {}
    for _ in range(2):
        with labelling(manifest, out) as run:
            run.until_parts(len(finished) + chance.randint(1, 2))
            run.kill()
        now = parts(out)
        assert finished.items() <= now.items()
        finished = now
    assert (out / "lease.json").exists()
    with labelling(manifest, out) as run:
        answer = run.result()
        assert "which is dead; continuing" in run.log.read_text()
    assert finished.items() <= parts(out).items()
    assert_is_as(out, answer, whole)


@pytest.mark.parametrize(
    ("stage", "options"),
    [("PartLabeller", []), ("PartCropper", ["--teacher-workers", "1"]), ("PartWriter", ["--teacher-workers", "1"])],
)
def test_a_killed_worker_is_replaced_within_the_run(manifest, whole, tmp_path, stage, options):
    out = tmp_path / "labels"
    with labelling(manifest, out, *options) as run:
        run.until_parts(1)
        os.kill(run.workers(stage)[0], signal.SIGKILL)
        answer = run.result()
    assert_is_as(out, answer, whole)
    assert read_rates(str(out / "run.json")).faces > 0  # what was done twice does not spoil a plan


def test_a_run_that_wakes_up_after_another_has_taken_over_and_ended_spoils_nothing(manifest, whole, tmp_path):
    """The other cuts the manifest otherwise, so that a part of the first would double its rows."""
    out = tmp_path / "labels"
    with labelling(manifest, out) as first:
        first.until_parts(1)
        stopped = first.stand_still()
        held = json.loads((out / "lease.json").read_text())
        (out / "lease.json").write_text(json.dumps(held | {"process_started": "as of one that is gone"}))
        with labelling(manifest, out, "--crop-workers", "1") as second:
            answer = second.result()
        finished = parts(out)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        code, _, lines = first.end()
        assert code == 1 and "took this output over while this run was stopped" in lines[-1]
    assert parts(out) == finished and counts(answer) == counts(whole[1])
    named = ["utterance_id", "emotion", "reject_reason"]  # cut otherwise, logits differ in their last digit
    assert rows_without_times(out).select(named).equals(rows_without_times(whole[0]).select(named))


def test_a_second_command_and_a_changed_manifest_while_the_first_works(manifest, whole, tmp_path):
    """The second is refused with one line; the first goes on with the manifest that it read, and says so."""
    own, out = str(tmp_path / "m.parquet"), tmp_path / "labels"
    shutil.copy(manifest, own)
    with labelling(own, out) as run:
        run.until((out / "lease.json").exists, "a lease")
        with labelling(own, out) as second:
            code, _, lines = second.end()
            assert code == 1 and len(lines) == 1
            assert f"{out} is being written by process {run.process.pid} on" in lines[0]
        write_manifest(read_manifest(own).slice(0, 3), own)
        answer = run.result()
        assert answer["manifest_changed"] and f"{own} was written again while this run worked" in run.log.read_text()
    assert_is_as(out, answer, whole)
