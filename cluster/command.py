"""Runs a job from the command line: options by tyro, logs to stderr, one JSON object as the last line of stdout.

Exit codes: 0 done, 1 a problem the user can fix (one line, no traceback), 2 wrong usage; a bug shows its traceback.
"""

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import tyro

from cluster import storage_patience
from cluster.failures import user_error_in
from cluster.help_output import help_to_any_reader
from cluster.json_values import json_ready
from cluster.logs import show_logs
from cluster.redaction import redacted
from cluster.run_record import RunRecord

Options = TypeVar("Options")


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Options that every job has."""

    address: str | None = None
    """Ray cluster to run on, when this machine is one of its nodes: HEAD:6379 or auto (from elsewhere, use `emovox
    submit`). local: a Ray session of this process's own. Default: RAY_ADDRESS if set, else local; but `predict`, `fit-head`,
    `evaluate`, `probe` and `distill --recipe whisper` do what is small without Ray, unless an address is given."""


@contextlib.contextmanager
def _stdout_reserved() -> Generator[Callable[[str], object]]:
    """Sends everything printed inside the block, by libraries and workers too, to stderr. Yields a function that writes
    a line to the real stdout."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        yield lambda line: _write_whole(real, (line + "\n").encode())
    finally:
        sys.stdout.flush()
        os.dup2(real, 1)
        os.close(real)


def _write_whole(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def run_job(
    name: str,
    options_class: type[Options],
    job: Callable[[Options, RunRecord], object],
    argv: Sequence[str] | None = None,
) -> int:
    """Parses `argv`, runs `job(options, record)` and prints its result, a dataclass or a mapping, as JSON (`json_ready`).
    Returns the exit code.

    name: the job's name on the command line; the help, the messages and the record show it.
    """
    with help_to_any_reader():
        options = tyro.cli(options_class, prog=f"emovox {name}", description=options_class.__doc__, args=argv)
    show_logs()
    warnings.filterwarnings("ignore", category=FutureWarning)
    storage_patience.expect_first_answer()
    with _stdout_reserved() as print_result:
        try:
            result = job(options, RunRecord(name, options))
        except KeyboardInterrupt:
            print(f"emovox {name}: interrupted; the same command continues from what is written", file=sys.stderr)
            return 130
        except Exception as error:
            if (problem := user_error_in(error)) is None:
                raise
            first_line = redacted(str(problem).partition("\n")[0])  # Ray Data adds lines to an error of a worker
            print(f"emovox {name}: {first_line}", file=sys.stderr)
            return 1
        return _shown(name, json.dumps(json_ready(result)), print_result)


def _shown(name: str, result: str, print_result: Callable[[str], object]) -> int:
    """The exit code of a job that is done: 1 where nobody could be told."""
    try:
        print_result(result)
    except OSError as error:
        print(f"emovox {name}: done, but stdout takes no result ({error.strerror}): {result}", file=sys.stderr)
        return 1
    return 0
