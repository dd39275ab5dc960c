"""A job called in this process, for fixtures that several tests share (`capfd` lives for one test)."""

import importlib
import json
import os
import sys
import tempfile


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
