"""What `emovox bench` promises whatever it measures: ways that take turns, a report that tells where it is from."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.tally import StageCount
from jobs import bench
from pipeline.assets.weights import teacher_weights
from pipeline.benches import measuring
from pipeline.benches.label_floor import bare_s, spread, with_cheaper_ways
from pipeline.benches.label_gpu import gpu_figures
from pipeline.benches.label_job import JobTiming, Look
from pipeline.benches.options import BenchDecode
from pipeline.benches.pausing import Pausable
from tests.support import clips


def test_the_ways_take_turns_and_change_their_order():
    calls = []
    ways = {name: lambda name=name: calls.append(name) or len(calls) for name in "abc"}
    assert measuring.interleaved(ways, 3) == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}
    assert "".join(calls) == "abccbaabc"


def test_a_report_tells_what_is_needed_to_take_it_again(tmp_path):
    report = measuring.described("decode", BenchDecode(repeats=2), {"clips": 3})
    measuring.write_report(str(tmp_path), report)
    written = json.loads((tmp_path / "bench_decode.json").read_text())
    assert written == report
    assert written["clips"] == 3 and written["options"]["repeats"] == 2 and written["versions"]["av"]
    assert written["hardware"]["cores"] >= 1 and written["hardware"]["ram_gib"] > 0


def test_memory_is_that_of_the_process_itself_and_not_of_the_one_that_started_it():
    large = bytearray(b"x") * 1_000_000_000
    assert measuring.peak_memory_mb() > 1000
    script = f"import runpy; print(runpy.run_path({measuring.__file__!r})['peak_memory_mb']())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert len(large) and float(done.stdout) < 1000


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_a_program_is_paused_with_all_that_it_started_and_goes_on():
    """The second process is of a session of its own, as Ray's are."""
    child = "import time; print('child', flush=True); time.sleep(600)"
    program = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {child!r}], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""

    def states(pids: list[int]) -> set[str]:
        return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids}

    with Pausable([sys.executable, "-c", program], ".") as running:
        pids = [running.process.pid, int(running.process.stdout.readline())]
        with running.paused():
            until_true(lambda: states(pids) == {"T"})
        until_true(lambda: "T" not in states(pids))
        assert running.runs_on(0.0) and len(running.pauses) == 1
        with running.paused():
            pass
    until_true(lambda: not Path(f"/proc/{pids[1]}").exists() or states(pids[1:]) == {"Z"})


def until_true(condition) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_a_bench_that_is_not_there_is_wrong_usage():
    done = subprocess.run([sys.executable, "-m", "jobs", "bench", "nonsense"], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and "decode" in done.stderr


@pytest.mark.parametrize("name", bench.BENCHES)
def test_every_bench_explains_its_options(name, capfd):
    with pytest.raises(SystemExit) as exit:
        bench.main([name, "--help"])
    assert exit.value.code == 0
    assert f"emovox bench {name}" in capfd.readouterr().out


@pytest.mark.slow
def test_decode_compares_what_all_can_read_and_lists_the_rest(tmp_path, capfd):
    clips.write_stamped_clip(tmp_path / "whole.mp4", [place / 25 for place in range(50)])
    (tmp_path / "text.mp4").write_text("not a video")
    record = ["--record", "--record-file", str(tmp_path / "benchmarks.csv")]
    assert (
        bench.main(["decode", "--data", str(tmp_path), "--repeats", "1", "--out", str(tmp_path / "out"), *record]) == 0
    )
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert (report["clips"], report["clips_compared"]) == (2, 1)
    assert {problem["way"] for problem in report["problems"]} >= {"floor", "pyav", "decord", "torchcodec"}
    assert all(problem["clip"].endswith("text.mp4") and problem["problem"] for problem in report["problems"])
    assert {way: one["pictures"] for way, one in report["whole"].items()} == {
        "floor": 50,
        "pyav": 50,
        "decord": 50,
        "torchcodec": 50,
    }
    assert report["sampled"]["pyav"]["pictures"] == report["sampled"]["decord"]["pictures"] == 9
    assert (tmp_path / "out" / "bench_decode.json").exists()
    rows = {row["quantity"]: row for row in csv.DictReader((tmp_path / "benchmarks.csv").open())}
    row = rows["sampled.pyav.cpu_s_a_clip"]
    assert float(row["value"]) == report["sampled"]["pyav"]["cpu_s_a_clip"] and row["unit"] == "s a clip"
    assert row["bench"] == "decode" and row["python"] == report["versions"]["python"] and row["processor"]


def test_the_steady_state_of_labelling_leaves_out_beginning_end_and_pauses():
    """Two cores at 80 %: 1.6 s of work a second. A pause of 50 s; the last rows are left to one core."""
    looks = [Look(at=100.0 + t, work_s=1.6 * t, decoded=t, written=max(0, t - 10)) for t in range(41)]
    looks += [Look(at=150.0 + t, work_s=1.6 * t, decoded=t, written=t - 10) for t in range(41, 91)]
    looks += [
        Look(at=150.0 + t, work_s=144 + 0.8 * (t - 90), decoded=min(100, t), written=t - 10) for t in range(91, 111)
    ]
    stages = {name: StageCount(rows=100, seconds=160 / 3) for name in ("decode", "faces", "teacher")}
    run = JobTiming(
        rows=100, seconds=160.0, start_s=5.0, stages=stages, work_s=160.0, looks=looks, pauses=[(140.5, 190.5)]
    )
    assert run.worked_s == pytest.approx(110) and run.steady_s == pytest.approx(100)


@pytest.mark.parametrize("cores", [1, 2, 16])
def test_no_core_rests_for_long_while_the_floor_is_taken(cores):
    seconds = {"long": 3.0} | {f"short{number}": 0.5 for number in range(20)}
    busy = spread({path: {"sampled_decode": each} for path, each in seconds.items()}, cores)
    assert len({busy.count(path) for path in seconds}) == 1
    free_at = [0.0] * cores
    for path in busy:  # each clip goes to the process that is done first
        free_at[free_at.index(min(free_at))] += seconds[path]
    assert sum(free_at) > 0.85 * cores * max(free_at)


def test_of_two_ways_to_decode_the_cheaper_on_the_whole_is_the_floor():
    floors = [
        {"clip": {"plain_decode": plain, "sampled_decode": sampled, "speech": 0.5}}
        for plain, sampled in ((3.0, 1.0), (1.0, 2.0))
    ]
    decided = with_cheaper_ways(floors)
    assert bare_s(decided, ["decode"]) == 1.5 and bare_s(decided, ["decode", "speech"]) == 2.0
    assert [bare_s([floor], ["decode"]) for floor in decided] == [1.0, 2.0]


@pytest.mark.gpu
def test_a_teacher_on_a_gpu_is_measured_beside_what_a_matrix_product_reaches():
    figures = gpu_figures(teacher_weights("compact"))
    assert set(figures.teachers) == {"compact", "senet50, random weights"}
    for one in figures.teachers.values():
        assert 0 < one.of_ceiling <= one.network_of_ceiling < 1
    # SENet-50 at 224 pixels: 3.87 G multiplications and additions (Hu et al. 2018, table 2), two operations each
    assert figures.teachers["senet50, random weights"].gflop_per_image == pytest.approx(2 * 3.87, rel=0.05)


@pytest.mark.slow
def test_the_plan_is_measured_on_made_up_utterances_and_the_figures_are_kept(tmp_path):
    """It goes through the real `label` with stand-ins for cropper and teacher, so it fails where their call has changed."""
    record = tmp_path / "benchmarks.csv"
    command = ["scale", "--rows", "1000", "--out", str(tmp_path / "out"), "--record", "--record-file", str(record)]
    done = subprocess.run([sys.executable, "-m", "jobs.bench", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["rows"] == 1000 and report["rows_per_s"] > 0 and report["driver_peak_mb"] > 100
    kept = {row["quantity"]: row for row in csv.DictReader(record.open())}
    assert float(kept["rows_per_s"]["value"]) == pytest.approx(report["rows_per_s"]) and kept["rows"]["commit"]
