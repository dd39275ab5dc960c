"""Runs a job on a cluster: `emovox submit JOB ... --address http://HEAD:8265`."""

import dataclasses
import importlib
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from cluster.failures import UserError
from cluster.help_output import help_to_any_reader
from cluster.json_values import json_ready
from cluster.logs import show_logs

if TYPE_CHECKING:
    from cluster.dashboard import Dashboard

NO_PATHS = ("--layout", "--dataset", "--recipe")
"""Options of jobs whose values may happen to be names of local folders."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Runs a job on a cluster: packs this checkout, starts `python -m jobs JOB ...` on the head, shows its log, prints its
    result and returns its exit code.

        emovox submit [options below] JOB [options of the job] --address http://HEAD:8265

    Options of submit come before JOB. Everything after JOB is passed to the job, except `--address`, which is always the
    dashboard's (the job finds its own cluster). Ctrl-C stops following the job; the job continues.

    The cluster must be able to read every path: s3:// or a folder that all its nodes mount. Storage credentials belong on
    the nodes (role, profile, Kubernetes Secret).

    A cluster that asks for a token gets it from RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.

    Exit codes: the job's own (0 done, 1 a problem that you can fix, 2 wrong usage), 143 cancelled, 130 Ctrl-C.
    """

    address: str | None = None
    """The head's dashboard, http://HEAD:8265. Default: RAY_API_SERVER_ADDRESS, or RAY_ADDRESS if it is http."""
    submission_id: str | None = None
    """Name of the submission. Default: the job's name and the time. The cluster accepts each name once, so a job cannot be
    started twice by mistake."""
    detach: bool = False
    """Return as soon as the job is submitted."""
    env: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """NAME of an environment variable to pass to the job; may be repeated. Anyone who reaches the dashboard can read its
    value."""
    python: str | None = None
    """Python on the head. Default: the one that runs Ray there."""
    attach: str | None = None
    """Follow the job with this submission id, from the start of its log."""
    tail: int | None = None
    """With --attach: show only this many lines of the log so far."""
    cancel: str | None = None
    """Stop the job with this submission id."""
    list: bool = False
    """Show the cluster's submitted jobs, newest first."""


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits the command line into (the words for submit, JOB and its words). `--address http...` goes to submit, wherever
    it is."""
    takes_value = {
        f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(Submit) if field.type is not bool
    }
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at].replace("_", "-") in takes_value else 1
    own, job = list(words[:at]), list(words[at:])
    for start, word in enumerate(job):
        address = word.partition("=")[2] if word.startswith("--address=") else "".join(job[start + 1 : start + 2])
        if word.partition("=")[0] == "--address" and address.startswith(("http://", "https://")):
            own += ["--address", address]
            del job[start : start + (1 if "=" in word else 2)]
            break
    return own, job


def usage_problem(options: Submit, job: Sequence[str], known_jobs: Sequence[str]) -> str | None:
    """Says in one line what is wrong with the command line, if anything."""
    acts = [name for name in ("attach", "cancel", "list") if getattr(options, name)]
    if len(acts) + bool(job) != 1:
        found = " and ".join([f"--{name}" for name in acts] + list(job[:1])) or "nothing"
        return f"give either a JOB, --attach ID, --cancel ID or --list; {found} was given"
    if options.tail is not None and (not options.attach or options.tail < 0):
        return "--tail takes a number of lines and goes with --attach ID"
    if job and job[0].replace("_", "-") not in known_jobs:
        return f"there is no job {job[0]!r}; the jobs are {', '.join(known_jobs)}"
    if any(option == "--address" and value != "auto" for option, value in _option_values(job)):
        return (
            "an --address behind JOB is the dashboard's: it begins with http://, as in http://HEAD:8265, and is given once; the "
            "job itself finds its cluster and needs none"
        )
    late = sorted({"--detach", "--submission-id", "--env"} & {word.partition("=")[0] for word in job})
    return f"{late[0]} is an option of submit; put it before {job[0]}" if late else None


def check_paths(job: Sequence[str]) -> None:
    """Warns about paths that only this machine has. Raises UserError for a relative --out, whose files would vanish with
    the job."""
    for option, value in _option_values(job):
        if "://" in value or value.startswith("-") or option in NO_PATHS:
            continue
        if option == "--out" and not os.path.isabs(value):
            raise UserError(
                f"--out {value} is a relative path, and the job's working folder on the cluster goes away with it; give "
                "s3://... or the absolute path of a folder that all nodes mount"
            )
        if os.path.isabs(value) or os.path.exists(value):
            log.warning(
                "%s %s is a path of this machine; the job finds it only if the nodes have it too", option, value
            )


def _option_values(job: Sequence[str]) -> list[tuple[str, str]]:
    values, option = [], "".join(job[:1])
    for word in job[1:]:
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            values += [(option, value)] if equals else []
        else:
            values.append((option, word))
    return values


def _follow(dashboard: "Dashboard", submission_id: str, tail: int | None = None) -> int:
    from cluster.job_log import JobLog, follow
    from cluster.submission import exit_code

    again = f"--address {dashboard.address}"

    def show(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    text = JobLog(show) if tail is None else JobLog.of_last(show, tail, dashboard.get_job_logs(submission_id))
    try:
        job = follow(dashboard, submission_id, text)
    except KeyboardInterrupt:
        print(
            f"emovox submit: stopped following {submission_id}, which continues; "
            f"follow it: emovox submit --attach {submission_id} {again}; "
            f"stop it: emovox submit --cancel {submission_id} {again}",
            file=sys.stderr,
        )
        return 130
    code = exit_code(job)
    if code == 0 and text.result:
        print(text.result, flush=True)
    elif code != 0:
        reason = "" if job.driver_exit_code is not None else f": {(job.message or '').strip()}"
        print(f"emovox submit: {submission_id} {job.status.value}, exit code {code}{reason}", file=sys.stderr)
    return code


@dataclass(frozen=True)
class ListedJob:
    """What `--list` prints about a job; started: local time."""

    submission_id: str | None
    status: str
    started: str


def _show_list(dashboard: "Dashboard") -> int:
    from cluster.submission import jobs_of

    listed: list[ListedJob] = []
    for job in jobs_of(dashboard):
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((job.start_time or 0) / 1000))
        listed.append(ListedJob(job.submission_id, job.status.value, started))
        print(f"{started}  {job.status.value:<9}  {job.submission_id}  {job.entrypoint}", file=sys.stderr)
    print(json.dumps(json_ready({"jobs": listed})))
    return 0


def _run(options: Submit, job: list[str]) -> int:
    from cluster.dashboard import Dashboard, dashboard_address
    from cluster.submission import cancel, details, submit

    if job:
        check_paths(job)
    dashboard = Dashboard(dashboard_address(options.address))
    if options.list:
        return _show_list(dashboard)
    if options.cancel:
        ended = cancel(dashboard, options.cancel)
        print(json.dumps({"submission_id": options.cancel, "status": ended.status.value}))
        return 0
    if options.attach:
        details(dashboard, options.attach)
        return _follow(dashboard, options.attach, options.tail)
    submission_id = submit(dashboard, job, options.submission_id, options.env, options.python)
    log.info("submitted as %s to %s", submission_id, dashboard.address)
    if options.detach:
        print(json.dumps({"submission_id": submission_id, "address": dashboard.address}))
        return 0
    return _follow(dashboard, submission_id)


def main(argv: Sequence[str] | None = None) -> int:
    from jobs.__main__ import JOBS  # which imports this module by name

    own, job = split(sys.argv[1:] if argv is None else argv)
    with help_to_any_reader():
        options = tyro.cli(Submit, prog="emovox submit", description=Submit.__doc__, args=own)
    problem = usage_problem(options, job, [name for name in JOBS if name != "submit"])
    if problem:
        print(f"emovox submit: {problem}\n`emovox submit --help` explains", file=sys.stderr)
        return 2
    if {"-h", "--help"} & set(job):
        return importlib.import_module(f"jobs.{job[0].replace('-', '_')}").main(job[1:])
    show_logs()
    try:
        return _run(options, job)
    except KeyboardInterrupt:
        print("emovox submit: interrupted; `emovox submit --list` shows whether a job has begun", file=sys.stderr)
        return 130
    except UserError as error:
        print(f"emovox submit: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
