"""The end of a worker process that Ray has told to go."""

import atexit
import signal

LONGEST_EXIT_S = 20
"""A worker's exit takes less than a second. It has been seen to hang for ever, after the interpreter was torn down, with
0.9 GB held and its raylet gone (github.com/ray-project/ray/issues/52322 is of that kind)."""


def arm_exit_alarm(within_s: int = LONGEST_EXIT_S) -> None:
    """From its atexit functions on, which follow the end of its threads, the kernel gives this process so many seconds.
    For worker processes: it takes the process's one alarm."""
    atexit.register(signal.alarm, within_s)
