"""The dashboard of a cluster's head: where it is, whether it lets us in, and its refusals as one-line errors."""

import contextlib
import os
import re
from collections.abc import Generator

import ray
import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from cluster import ray_internals
from cluster.failures import UserError
from cluster.ray_internals import RequestsWithTimeout

ANSWER_TIMEOUT_S = 15.0
REQUEST_TIMEOUT_S = 120.0
"""Ray's client sets no timeout and would wait forever for a silent head. A busy head has taken 15 s to answer."""


def dashboard_address(given: str | None) -> str:
    """The dashboard's http address: the one given, else RAY_API_SERVER_ADDRESS, else RAY_ADDRESS if it is http."""
    for source, address in (
        ("--address", given),
        ("RAY_API_SERVER_ADDRESS", os.environ.get("RAY_API_SERVER_ADDRESS")),
        ("RAY_ADDRESS", os.environ.get("RAY_ADDRESS")),
    ):
        if address and re.match(r"https?://[^/]+", address):
            return address.rstrip("/")
        if address and source != "RAY_ADDRESS":
            raise UserError(f"{source} {address}: submitting needs the head's dashboard, such as http://HEAD:8265")
    raise UserError("no cluster is named; give --address http://HEAD:8265, or set RAY_API_SERVER_ADDRESS")


class Dashboard(RequestsWithTimeout, JobSubmissionClient):
    """Ray's client for one dashboard. Raises UserError on construction unless the dashboard answers, lets us in, and runs
    this checkout's version of Ray.

    A token (RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token) is sent to a cluster that asks for one, unless
    RAY_AUTH_MODE is `disabled`.
    """

    request_timeout_s = REQUEST_TIMEOUT_S

    def __init__(self, address: str):
        ray_internals.quiet_client_logs()
        self.address, self.headers = address, _authorization(address)
        _require_same_ray(address, self.headers)
        os.environ["RAY_API_SERVER_ADDRESS"] = address  # Ray's client prefers this to its argument
        with readable(address):
            super().__init__(address, headers=dict(self.headers))


@contextlib.contextmanager
def readable(address: str) -> Generator[None]:
    """Turns what Ray's client raises inside the block into a UserError of one line."""
    try:
        yield
    except AuthenticationError as error:
        raise UserError(f"{address}: {_first_line(error)}") from error
    except (requests.exceptions.RequestException, ConnectionError) as error:
        raise UserError(f"{address}: the connection was lost ({_first_line(error)}); try again") from error
    except RuntimeError as error:
        raise UserError(f"{address}: the cluster refused: {cause(error)}") from error


def get(address: str, path: str, headers: dict[str, str]) -> requests.Response:
    return requests.get(address + path, headers=headers, timeout=ANSWER_TIMEOUT_S)


def _authorization(address: str) -> dict[str, str]:
    """Headers with this user's token if the dashboard asks for one; {} if it asks for none."""
    try:
        status = get(address, "/api/version", {}).status_code
    except requests.exceptions.RequestException as error:
        raise UserError(
            f"--address {address}: no dashboard answers there ({_unreachable(error)}); is the head up, and its port "
            "8265 forwarded to here (kubectl port-forward, ray dashboard)?"
        ) from error
    if status != 401:
        return {}
    ways = "RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        raise UserError(
            f"{address} asks for a token, and RAY_AUTH_MODE=disabled keeps it back; unset it, and set {ways}"
        )
    try:
        token = ray_internals.cluster_token()
    except AuthenticationError as error:
        raise UserError(f"{address} asks for a token: {_first_line(error)}") from error
    if not token:
        raise UserError(f"{address} asks for a token and there is none here; set {ways} to the cluster's")
    headers = {"Authorization": f"Bearer {token}"}
    if get(address, "/api/version", headers).status_code in (401, 403):
        raise UserError(f"{address} does not accept this token; give the cluster's own by {ways}")
    return headers


def _require_same_ray(address: str, headers: dict[str, str]) -> None:
    """Raises UserError if what answers is not a dashboard, or runs another Ray (patch releases count as the same)."""
    try:
        answer = get(address, "/api/version", headers)
        answer.raise_for_status()
        version = answer.json()["ray_version"]
    except (requests.exceptions.RequestException, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--address {address}: what answers there is no Ray dashboard ({_first_line(error)}); give the head's "
            "address and dashboard port, such as http://HEAD:8265"
        ) from error
    if version.split(".")[:2] != ray.__version__.split(".")[:2]:
        raise UserError(
            f"{address} runs Ray {version} and this checkout Ray {ray.__version__}; start the cluster from an image of "
            "this checkout (cluster/deploy/Dockerfile), or submit from an environment with the cluster's version"
        )


def _unreachable(error: Exception) -> str:
    """The operating system's own message, from inside the layers of requests and urllib3."""
    found = re.search(r"\[Errno -?\d+\] ([^\"')]+)", str(error))
    return found[1] if found else type(error).__name__


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]


def cause(error: Exception) -> str:
    """The last line that is not empty: Ray's client passes on the server's traceback as text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
    return re.sub(r"^[\w.]*(Error|Exception): ", "", lines[-1] if lines else type(error).__name__)[:500]
