import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

JOB = """
import sys
from dataclasses import dataclass
from cluster.command import JobOptions, run_job
from cluster.failures import UserError

@dataclass(frozen=True, kw_only=True)
class Greet(JobOptions):
    '''Greets.'''
    name: str
    '''Who.'''

def greet(options, record):
    print("noise on stdout")
    if options.name == "nobody":
        raise UserError("--name nobody: give a name")
    if options.name == "bug":
        raise KeyError("a bug")
    return {"greeted": options.name}

sys.exit(run_job("greet", Greet, greet))
"""


@pytest.fixture(scope="module")
def run_greet(tmp_path_factory):
    script = tmp_path_factory.mktemp("job") / "greet.py"
    script.write_text(JOB)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, str(script), *arguments], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
        )

    return run


def test_stdout_holds_the_result_and_nothing_else(run_greet):
    done = run_greet("--name", "Ada")
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"greeted": "Ada"}
    assert "noise on stdout" in done.stderr


def test_a_problem_of_the_user_is_one_line_and_exit_code_1(run_greet):
    done = run_greet("--name", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert "emovox greet: --name nobody: give a name" in done.stderr.splitlines()
    assert "Traceback" not in done.stderr


def test_wrong_usage_is_exit_code_2(run_greet):
    assert run_greet("--nmae", "Ada").returncode == 2
    assert run_greet().returncode == 2


def test_a_bug_shows_its_traceback(run_greet):
    done = run_greet("--name", "bug")
    assert done.returncode == 1 and "Traceback" in done.stderr and "a bug" in done.stderr


def test_help_explains_options(run_greet):
    done = run_greet("--help")
    assert done.returncode == 0 and "Who." in done.stdout and "--address" in done.stdout
