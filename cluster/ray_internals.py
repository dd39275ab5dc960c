"""What this project uses of Ray that Ray does not document and may change: all of it as in Ray 2.60.0.

`tests/test_private_names.py` holds that no other file does. After an upgrade of Ray each entry is to be looked at: it says
what it does and what is lost without it. `make test test-slow` meets all but the settings of the environment and the names of
loggers, of which a Ray that does not know them says nothing.
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
    # idle worker processes, each half a per cent of a core, go after 10 s (by default those beyond one a CPU, after 1 s)
    "RAY_num_workers_soft_limit": "0",
    "RAY_idle_worker_killing_time_threshold_ms": "10000",
    # statistics of Ray's event loops and of its tasks, which nobody can ask an embedded session for: 0.6 % of two cores
    "RAY_event_stats": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_worker_niceness": "0",  # 15 by default: the driver would starve its own workers
}
"""Environment of an embedded session. Without it everything works, more slowly and with more lines in the log."""

EXECUTOR_LOG = "ray.data._internal.execution.streaming_executor_state"
"""Where Ray Data logs the traceback of an error that it raises right after. Without it a UserError is no single line."""

CLIENT_LOGS = ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env", "ray._private.authentication")
"""Where the client of a dashboard tells what it packs and sends. Without it the person reads Ray's lines among ours."""


def use_embedded_settings() -> None:
    """What is set in the environment already stays."""
    for name, value in EMBEDDED_SETTINGS.items():
        os.environ.setdefault(name, value)


def quiet_data_logs() -> None:
    """Ray Data's own reports on its progress, and the tracebacks that it logs beside raising the error."""
    logging.getLogger("ray.data._internal.progress").setLevel(logging.ERROR)
    logging.getLogger(EXECUTOR_LOG).setLevel(logging.CRITICAL)


def quiet_client_logs() -> None:
    for name in CLIENT_LOGS:
        logging.getLogger(name).setLevel(logging.ERROR)


def is_submitted_job() -> bool:
    """Whether this process was started by Ray's job manager, with a runtime environment of its own. Without it a submitted
    job would pack the checkout that it runs in once more."""
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
    """The token of this user's environment or home folder, "" where there is none, whatever RAY_AUTH_MODE says. Raises
    `ray.exceptions.AuthenticationError` for one that cannot be read. Without it, no dashboard that asks for a token."""
    return AuthenticationTokenLoader.instance().get_raw_token(ignore_auth_mode=True) or ""


def give_token_if_asked(address: str) -> None:
    """Makes this process give its token, where it has one and the cluster refuses it without. A token must not be given
    unasked: the cluster would end each actor of this process as soon as it is made.

    Raises AuthenticationError for the wrong token, at once (`ray.init` tries for 20 s), and RpcError where none answers.
    Without it, RAY_AUTH_MODE=token has to be set by hand for clusters with a token, and only for those.
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
    """To stand before `JobSubmissionClient`, whose requests have no timeout: without it, a head that has gone silent is
    waited for without an end."""

    request_timeout_s: float

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        options = {"timeout": self.request_timeout_s} | options
        return super()._do_request(method, endpoint, **options)  # pyright: ignore[reportAttributeAccessIssue]


def at_each_step(dataset: "Dataset", look: Callable[[], None]) -> None:
    """Calls `look` again and again, in this process, while the dataset is executed; what it raises ends the execution.
    Without it, a plan whose nodes are gone waits for them without an end."""
    from ray.data._internal.execution.execution_callback import ExecutionCallback

    class Look(ExecutionCallback):
        def on_execution_step(self, executor: object) -> None:
            look()

    dataset.context.custom_execution_callback_classes.append(Look)
