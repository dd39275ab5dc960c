"""`emovox bench start`: what a process took, and what it says of one that fails."""

import json
import sys

import pytest

from cluster.failures import UserError
from jobs import bench
from pipeline.benches.start import taken_by

SPIN = """
import subprocess, sys, time
def spin(seconds):
    while time.process_time() < seconds: sum(range(100_000))
if len(sys.argv) == 1:
    subprocess.run([sys.executable, __file__, "child"], check=True)
spin(0.5)
"""


def test_the_time_of_a_process_is_that_of_its_children_too(tmp_path):
    (tmp_path / "spin.py").write_text(SPIN)
    taken = taken_by([sys.executable, str(tmp_path / "spin.py")])
    assert 0.6 < taken.user_s <= taken.wall_s + 0.1  # half a second each


def test_a_command_that_fails_is_told_by_its_last_line():
    with pytest.raises(UserError, match=r"exit code 3: no such thing$"):
        taken_by([sys.executable, "-c", "import sys; print('a\\nno such thing', file=sys.stderr); sys.exit(3)"])


@pytest.mark.slow
def test_help_and_a_prediction_are_measured_beside_the_import_of_torch(tmp_path, capfd):
    assert bench.main(["start", "--repeats", "1", "--out", str(tmp_path)]) == 0
    report = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert report == json.loads((tmp_path / "bench_start.json").read_text())
    assert 0 < report["help"]["user_s"] < report["job_help"]["user_s"] < report["floor"]["user_s"]
    assert report["floor"]["user_s"] < report["predict"]["user_s"] and report["over_floor"] > 0
