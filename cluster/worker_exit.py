"""Bounds how long a worker process takes to exit."""

import atexit
import signal

LONGEST_EXIT_S = 20
"""A worker exits in less than a second. Some were seen to hang forever after the interpreter was torn down, holding
0.9 GB, with their raylet gone (similar to github.com/ray-project/ray/issues/52322)."""


def arm_exit_alarm(within_s: int = LONGEST_EXIT_S) -> None:
    """Makes the kernel kill this process `within_s` seconds after its atexit functions run, which is after its threads
    have ended. Only for worker processes, because it uses the process's single alarm."""
    atexit.register(signal.alarm, within_s)
