"""Processes that are started in an odd way: a job does its work or ends with one line, and no traceback is shown."""

import os
import subprocess
import sys

import pytest

from cluster.working_tree import python_path

USER_ERROR = "emovox verify: /nowhere: no distillation set is there"
PRINTS = "import sys; from cluster.command import *; sys.exit(run_job('x', JobOptions, lambda options, record: {'a': 1}, []))"
EMBEDDED = """
import sys, jobs
from cluster.command import *
from cluster.session import session

def job(options, record):
    with session("local"):
        return {}

sys.exit(run_job("x", JobOptions, job, []))
"""


def lines(command: str, *words: str, **variables: str) -> tuple[int, list[str]]:
    """Exit code, and what was written to stderr, of a shell's line that ends in its redirections."""
    environment = os.environ | {"PYTHONPATH": python_path()} | variables
    done = subprocess.run(
        ["bash", "-c", command, *words], env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("closed", [">&-", "<&-", "<&- >&-"])
def test_closed_streams_lead_nowhere(closed):
    code, said = lines(f'"$0" -m jobs verify /nowhere {closed}', sys.executable)
    assert code == 1 and [line[: len(USER_ERROR)] for line in said] == [USER_ERROR]
    assert lines(f'"$0" -m jobs verify --help {closed}', sys.executable) == (0, [])


def test_a_closed_stderr_takes_nothing_to_stdout():
    done = subprocess.run(
        ["bash", "-c", '"$0" -m jobs verify /nowhere 2>&-', sys.executable],
        env=os.environ | {"PYTHONPATH": python_path()},
        stdout=subprocess.PIPE,
    )
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_result_that_stdout_does_not_take_is_told_with_the_result():
    code, said = lines('"$0" -c "$1" >/dev/full', sys.executable, PRINTS)
    assert code == 1 and said == ['emovox x: done, but stdout takes no result (No space left on device): {"a": 1}']


@pytest.mark.parametrize("job", ["label", "verify"])
def test_python_without_docstrings_is_refused(job):
    code, said = lines(f'"$0" -OO -m jobs {job} --help', sys.executable)
    assert code == 1 and len(said) == 1 and "python -OO" in said[0]


def test_names_of_files_that_are_not_read_as_utf_8_are_refused_and_the_c_locale_is_not():
    off = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    code, said = lines('"$0" -m jobs verify /nowhere', sys.executable, **off)
    assert code == 1 and len(said) == 1 and "read as ascii" in said[0] and "PYTHONUTF8=1" in said[0]
    code, said = lines('"$0" -m jobs verify /nowhere', sys.executable, LC_ALL="C")
    assert code == 1 and said[0].startswith(USER_ERROR)


@pytest.mark.parametrize("folder", ["long", "a file", "forbidden"])
def test_ray_that_finds_no_folder_for_itself_is_one_line(tmp_path, folder):
    place = tmp_path / ("x" * 100 if folder == "long" else "place")
    if folder == "a file":
        place.touch()
    else:
        place.mkdir()
    if folder == "forbidden":
        (place / "ray").touch()  # as for root nothing is forbidden by its mode
    code, said = lines('"$0" -c "$1"', sys.executable, EMBEDDED, RAY_TMPDIR=str(place))
    assert code == 1 and "Traceback" not in "\n".join(said)
    assert [line for line in said if line.startswith("emovox x: Ray could not be started")] == said[-1:]
    assert "set RAY_TMPDIR to a folder of your own" in said[-1]
