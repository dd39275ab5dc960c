"""Calls a job in this process and reads what it printed.

`answer_of` is for fixtures that several tests share, where `capfd` does not work: it lives for one test.
"""

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence


def answer_of(job: str, *arguments: object) -> dict:
    """The JSON object that the job prints as the last line of stdout; asserts exit code 0."""
    main = importlib.import_module(f"jobs.{job}").main
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        real = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            code = main([str(argument) for argument in arguments])
        finally:
            sys.stdout.flush()
            os.dup2(real, 1)
            os.close(real)
        file.seek(0)
        assert code == 0
        return json.loads(file.read().splitlines()[-1])


def last_line(capfd) -> dict:
    """The JSON in the single line that a job has printed to stdout."""
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 1 and "Traceback" not in err
    return json.loads(out)


def problem_of_job(capfd, job: str, arguments: Sequence[object]) -> str:
    """The error line of the job; asserts exit code 1, an empty stdout and no traceback."""
    main = importlib.import_module(f"jobs.{job.replace('-', '_')}").main
    assert main([str(argument) for argument in arguments]) == 1
    out, err = capfd.readouterr()
    assert out == "" and "Traceback" not in err
    return [line for line in err.splitlines() if line.startswith(f"emovox {job}:")][-1]
