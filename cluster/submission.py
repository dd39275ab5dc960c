"""Submits this checkout as a job to a cluster's dashboard, cancels jobs and lists them. `job_log.py` follows a job.

The person's own files stay here: only what git tracks goes, as it is now, without files that hold keys by their names.
"""

import contextlib
import logging
import os
import re
import secrets
import shlex
import time
from collections.abc import Sequence

import requests
from ray.job_submission import JobDetails, JobStatus

from cluster.dashboard import Dashboard, cause, get, readable
from cluster.failures import UserError
from cluster.working_tree import PROJECT_ROOT, checked_out_commit, is_checkout, largest_files, working_tree

TOO_LARGE = re.compile(r"\b413\b|body size|too large|exceeds the maximum", re.IGNORECASE)
"""Matches a head's answer to a package above its limit (100 MiB in Ray 2.60)."""

STOP_TIMEOUT_S = 60.0
"""Ray sends SIGTERM first and SIGKILL 3 s later (RAY_JOB_STOP_WAIT_TIME_S on the head)."""

log = logging.getLogger(__name__)


def _run_words() -> list[str]:
    """An installed emovox is started without the folder of the head's own in its path: a `jobs.py` there is not meant."""
    return ["-m", "jobs"] if is_checkout() else ["-P", "-m", "jobs"]


def submit(
    dashboard: Dashboard,
    job_words: Sequence[str],
    submission_id: str | None = None,
    env_names: Sequence[str] = (),
    python: str | None = None,
) -> str:
    """Packs the working tree and starts `python -m jobs JOB ...` on the head. Returns the submission id.

    env_names: environment variables to pass to the job; the dashboard's API shows them.
    Raises UserError for an id already used, a variable that is not set, and anything that the cluster refuses.
    """
    submission_id = submission_id or f"{job_words[0]}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", submission_id):
        raise UserError(f"--submission-id {submission_id}: use letters, digits, - _ and . only")
    missing = [name for name in env_names if name not in os.environ]
    if missing:
        raise UserError(f"--env {' '.join(missing)}: not set here; export it, or leave it out")
    if env_names:
        log.warning("anyone who reaches the dashboard can read the values of %s", ", ".join(env_names))
    known = _details(dashboard, submission_id)
    if known is not None:
        raise UserError(
            f"--submission-id {submission_id} was used on this cluster already ({known.status.value}); follow that job "
            f"by `emovox submit --attach {submission_id}`, or choose another id for a new one"
        )
    runtime_env = working_tree() | {"env_vars": {name: os.environ[name] for name in env_names}}
    entrypoint = shlex.join([python or _python_of(dashboard), *_run_words(), *job_words])
    try:
        with readable(dashboard.address):
            return dashboard.submit_job(
                entrypoint=entrypoint,
                submission_id=submission_id,
                runtime_env=runtime_env,
                metadata={
                    "job_name": f"emovox {job_words[0]}",
                    "commit": checked_out_commit(40, "+changes") or "unknown",
                },
            )
    except ValueError as error:  # the package is too large, or the environment cannot be packed
        if TOO_LARGE.search(str(error)):
            found = largest_files()
            raise UserError(
                f"{PROJECT_ROOT} packed is larger than the 100 MiB that a head takes; move large files out of the checkout, or "
                "out of what git tracks" + (f"; the largest are {found}" if found else "")
            ) from error
        raise error if isinstance(error, UserError) else UserError(f"{PROJECT_ROOT}: {cause(error)}") from error


def details(dashboard: Dashboard, submission_id: str) -> JobDetails:
    """What the cluster knows about a job. Raises UserError if there is no job with that id."""
    found = _details(dashboard, submission_id)
    if found is None:
        raise UserError(f"{dashboard.address} knows no job {submission_id!r}; `emovox submit --list` shows its jobs")
    return found


def cancel(dashboard: Dashboard, submission_id: str) -> JobDetails:
    """Stops a job and waits until it is over. A job that has already ended stays as it is."""
    if not details(dashboard, submission_id).status.is_terminal():
        with readable(dashboard.address):
            dashboard.stop_job(submission_id)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while not (found := details(dashboard, submission_id)).status.is_terminal():
        if time.monotonic() > deadline:
            raise UserError(f"{submission_id} is still {found.status.value} after {STOP_TIMEOUT_S:g} s; try once more")
        time.sleep(0.5)
    return found


def jobs_of(dashboard: Dashboard) -> list[JobDetails]:
    """The cluster's submitted jobs, newest first."""
    with readable(dashboard.address):
        found = [job for job in dashboard.list_jobs() if job.submission_id]
    return sorted(found, key=lambda job: job.start_time or 0, reverse=True)


def exit_code(job: JobDetails) -> int:
    """The job's exit code: 128 + signal if a signal ended it, 1 if the cluster lost it before it could report one."""
    if job.status is JobStatus.SUCCEEDED:
        return 0
    if job.status is JobStatus.STOPPED:
        return 143
    code = job.driver_exit_code
    return 1 if code is None else 128 - code if code < 0 else code


def _details(dashboard: Dashboard, submission_id: str) -> JobDetails | None:
    try:
        with readable(dashboard.address):
            return dashboard.get_job_info(submission_id)
    except UserError as error:
        if "does not exist" in str(error):
            return None
        raise


def _python_of(dashboard: Dashboard) -> str:
    """The Python that the head runs its workers with, from its raylet's command line; `python` if it is not given there."""
    with contextlib.suppress(requests.exceptions.RequestException, ValueError, KeyError, TypeError):
        summary = get(dashboard.address, "/nodes?view=summary", dashboard.headers).json()["data"]["summary"]
        (head,) = [node for node in summary if node["raylet"].get("isHeadNode")]
        option = "--python_worker_command="
        (command,) = [word for word in head["cmdline"] if word.startswith(option)]
        return shlex.split(command.removeprefix(option))[0]
    return "python"
