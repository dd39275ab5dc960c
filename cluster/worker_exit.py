"""The end of a worker process that Ray has told to go."""

import atexit
import signal

LONGEST_EXIT_S = 60
"""A worker's exit takes less than a second. It has been seen to hang for ever, after the interpreter was torn down, with
0.9 GB held and its raylet gone (github.com/ray-project/ray/issues/52322 is of that kind)."""


def require_exit(within_s: int = LONGEST_EXIT_S) -> None:
    """From the moment that this process begins to exit, the kernel ends it after so many seconds if it is still there."""
    atexit.register(signal.alarm, within_s)
