"""Contract: a worker process that hangs in its own exit does not stay behind."""

import signal
import subprocess
import sys

HANGS = """
import atexit, ctypes, sys
from cluster.worker_exit import arm_exit_alarm
libc = ctypes.CDLL(None)
if sys.argv[1] == "in C":  # once Python is torn down, as Ray's workers were seen to
    ctypes.pythonapi.Py_AtExit(ctypes.cast(libc.pause, ctypes.c_void_p))
else:
    atexit.register(libc.pause)
arm_exit_alarm(within_s=1)
"""


def ended(how: str) -> int:
    return subprocess.run([sys.executable, "-c", HANGS, how], timeout=60).returncode


def test_an_exit_that_hangs_is_ended_by_the_kernel():
    assert ended("in C") == -signal.SIGALRM
    assert ended("in Python") == -signal.SIGALRM


def test_an_exit_that_does_not_hang_is_left_alone():
    script = "from cluster.worker_exit import arm_exit_alarm; arm_exit_alarm()"
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 0
