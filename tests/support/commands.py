"""The `emovox` and `make` commands in documents: found in fenced blocks, and parsed by each job's parser without running."""

import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Sequence
from unittest import mock

import tyro

from jobs import submit
from jobs.__main__ import JOBS


def fenced_blocks(text: str) -> list[str]:
    """The content of each fenced block of a Markdown text."""
    return re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.M | re.S)


def commands(text: str, program: str = "emovox") -> list[list[str]]:
    """The words after the program's name, for every command in the fenced blocks of a Markdown text."""
    lines = "\n".join(fenced_blocks(text)).replace("\\\n", " ").splitlines()
    found = (re.search(rf"(?:^|\s){program} (?=[a-z])(.*)", line) for line in lines)
    return [shlex.split(match.group(1), comments=True) for match in found if match]


def problem_of(words: Sequence[str]) -> str | None:
    """The message that a user of the command (job first) would get if it is wrong, or None."""
    job, *rest = words
    if job not in JOBS:
        return f"there is no job {job!r}"
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            problem = _submit_problem(rest) if job == "submit" else _job_problem(job, rest)
        except SystemExit as exit:
            problem = " ".join(re.sub(r"[^\x20-\x7e]+", " ", said.getvalue()).split()) if exit.code else None
    return problem


def _job_problem(job: str, words: Sequence[str]) -> str | None:
    module = importlib.import_module(f"jobs.{job.replace('-', '_')}")

    def parse_only(name: str, options_class: type, run, argv: Sequence[str]) -> int:
        tyro.cli(options_class, args=argv)
        return 0

    with mock.patch.object(module, "run_job", parse_only):
        return "wrong usage" if module.main(list(words)) else None


def _submit_problem(words: Sequence[str]) -> str | None:
    own, job = submit.split(words)
    options = tyro.cli(submit.Submit, args=own)
    problem = submit.usage_problem(options, job, [name for name in JOBS if name != "submit"])
    return problem or (problem_of(job) if job else None)
