"""The undocumented parts of Ray that this project uses, as they are in Ray 2.60.0.

`tests/test_private_names.py` holds that no other file uses them. After an upgrade of Ray, check each entry: it says what
it does and what is lost without it. `make test test-slow` exercises all of them except the environment settings and the
names of loggers, which a Ray that does not know them ignores silently.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

from ray._private import services
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._raylet import (
    AuthenticationTokenLoader,  # pyright: ignore[reportAttributeAccessIssue]  compiled, without types
    GcsClient,  # pyright: ignore[reportAttributeAccessIssue]
)
from ray.exceptions import AuthenticationError
from ray.job_config import JobConfig

if TYPE_CHECKING:
    from ray.data import Dataset

EMBEDDED_SETTINGS = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # hides a warning about Ray Data's own actors
    # idle workers, half a per cent of a core each, exit after 10 s (by default, those beyond one per CPU exit after 1 s)
    "RAY_num_workers_soft_limit": "0",
    "RAY_idle_worker_killing_time_threshold_ms": "10000",
    # statistics of event loops and tasks, which an embedded session shows to nobody: 0.6 % of two cores
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_worker_niceness": "0",  # 15 by default: the driver would starve its own workers
}
"""Environment of an embedded session. Without it everything works, but more slowly and with more log lines."""

EXECUTOR_LOG = "ray.data._internal.execution.streaming_executor_state"
"""Logger to which Ray Data writes the traceback of an error before raising it. If it is not silenced, a UserError is more
than one line."""

CLIENT_LOGS = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env", "ray._private.authentication")
"""Loggers on which the dashboard's client reports what it packs and sends. If they are not silenced, Ray's lines appear
among ours."""


def use_embedded_settings() -> None:
    """Sets them for this process; variables that are already set stay."""
    for name, value in EMBEDDED_SETTINGS.items():
        os.environ.setdefault(name, value)


def quiet_data_logs() -> None:
    """Silences Ray Data's own progress reports, and the tracebacks that it logs before it raises the error."""
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    logging.getLogger(EXECUTOR_LOG).setLevel(logging.CRITICAL)


def quiet_client_logs() -> None:
    for name in CLIENT_LOGS:
        logging.getLogger(name).setLevel(logging.ERROR)


def is_submitted_job() -> bool:
    """Whether Ray's job manager started this process with its own runtime environment. Without this check, a submitted
    job would pack its checkout once more."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def head_of(address: str) -> str:
    """host:port of the head that an address means, `auto` too: RAY_ADDRESS where that is one, a head that runs on this machine,
    or the last one that was started here. Raises ConnectionError where there is none, ValueError for what is no address.
    Without it, a dead head is waited for by `ray.init` for a quarter of an hour."""
    of_another_kind = ("http://", "https://", "ray://", "local")
    said = os.environ.get("RAY_ADDRESS", "")
    if said.startswith(of_another_kind):
        del os.environ["RAY_ADDRESS"]
    try:
        found = services.canonicalize_bootstrap_address(address)
    finally:
        if said:
            os.environ["RAY_ADDRESS"] = said
    if found is None:
        raise ConnectionError("no Ray cluster runs on this machine")
    return found


class _FirstOnWorkers(list[str]):
    """Folders that Ray puts before all others into the path of each worker. Ray adds the folder where the driver was started
    behind them, and puts one after the other in front: the last would come first."""

    def extend(self, others: Iterable[str]) -> None:
        self[:0] = list(others)


def modules_first_from(folder: str) -> JobConfig:
    """For `ray.init`: workers look for modules in this folder before that where the driver was started. Without it a
    `pipeline.py` of the user's own is imported in place of ours, or run."""
    return JobConfig(_py_driver_sys_path=_FirstOnWorkers([folder]))


def cluster_token() -> str:
    """The token in this user's environment or home folder, whatever RAY_AUTH_MODE says; "" if there is none. Raises
    `ray.exceptions.AuthenticationError` if it cannot be read. Without this, dashboards that ask for a token are closed
    to us."""
    return AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True) or ""


def give_token_if_asked(address: str) -> None:
    """Makes this process send its token, if it has one, to a cluster that refuses connections without. A cluster that
    asks for no token must not get one: it would end each actor of this process right after creation.

    Raises AuthenticationError at once for a wrong token (`ray.init` tries for 20 s), and RpcError if nothing answers.
    Without this, the user must set RAY_AUTH_MODE=token for clusters with a token, and only for those.
    """
    quiet_client_logs()
    with _without_native_lines():
        try:
            GcsClient(address=address)
        except AuthenticationError:
            if not maybe_enable_token_auth_if_token_available(warn_if_disabled=False):
                raise
            GcsClient(address=address)


@contextlib.contextmanager
def _without_native_lines() -> Generator[None]:
    """Drops what Ray's C++ writes to stderr inside the block, which knows no level before `ray.init`; the errors themselves come
    as exceptions."""
    real, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(real, 2)
        os.close(real)
        os.close(nowhere)


class RequestsWithTimeout:
    """Mixin that precedes `JobSubmissionClient` in a list of bases, and gives its requests a timeout. Without it, requests
    to a silent head wait forever."""

    request_timeout_s: float

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        options = {"timeout": self.request_timeout_s} | options
        return super()._do_request(method, endpoint, **options)  # pyright: ignore[reportAttributeAccessIssue]


def at_each_step(dataset: "Dataset", look: Callable[[], None]) -> None:
    """Calls `look` repeatedly in this process while the dataset executes; an exception from it ends the execution.
    Without it, a plan whose nodes are gone waits for them forever."""
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    class Look(ExecutionCallback):
        def on_execution_step(self, executor: object) -> None:
            look()

    dataset.context.custom_execution_callback_classes.append(Look)
