"""Help that is printed, whoever reads it."""

import contextlib
import os
import sys
from collections.abc import Generator


@contextlib.contextmanager
def help_to_any_reader() -> Generator[None]:
    """Wraps code that prints help: a reader that stops early, such as `head`, ends it with exit code 0."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit fails too
        raise SystemExit(0) from None
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(f"emovox: the help cannot be shown ({error.strerror})") from None
