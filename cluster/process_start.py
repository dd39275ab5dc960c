"""What a process needs before a job can begin in it: its three streams, docstrings, and names of files as UTF-8."""

import os
import sys


def problem() -> str | None:
    """Why no job can run in this Python, in one line; None where one can."""
    if sys.flags.optimize > 1:
        return (
            "python -OO (or PYTHONOPTIMIZE=2) takes out texts that Ray and the options are made of; use -O, or neither"
        )
    if (encoding := sys.getfilesystemencoding().lower().replace("_", "-")) not in ("utf-8", "utf8"):
        return (
            f"names of files are read as {encoding} here, and everything else takes them for UTF-8; set PYTHONUTF8=1, or a "
            "locale such as LC_ALL=C.UTF-8"
        )
    return None


def open_missing_streams() -> None:
    """A stream that the caller has closed leads nowhere: else the next file that is opened would take its place."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115
