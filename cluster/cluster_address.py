"""Which cluster a job runs on: `--address`, else RAY_ADDRESS, else none; and whether one answers there."""

import os
import socket
from dataclasses import dataclass

from cluster.failures import UserError

CONNECT_TIMEOUT_S = 10.0
LOCAL = "local"
"""What Ray calls a session of the job's own."""


@dataclass(frozen=True)
class ClusterAddress:
    """An address with where it is from, for people. text: as it was given."""

    text: str
    is_option: bool

    def __str__(self) -> str:
        return f"--address {self.text}" if self.is_option else f"RAY_ADDRESS is {self.text}"

    @property
    def way_out(self) -> str:
        """What to change where this is no cluster."""
        other = "leave --address out" if self.is_option else "unset RAY_ADDRESS"
        return f"{other} (or give --address local) for a session of the job's own"


def cluster_address(option: str | None) -> ClusterAddress | None:
    """The cluster that is named; None for a session of the job's own. RAY_ADDRESS is set inside a submitted job."""
    text = (option or os.environ.get("RAY_ADDRESS", "")).strip()
    return None if text.lower() in ("", LOCAL) else ClusterAddress(text, is_option=bool(option))


def ray_is_named(option: str | None) -> bool:
    """Whether the user asks for Ray by `--address` or RAY_ADDRESS (`local` too), which then does work of any size. Else what is
    small is done in this process, before Ray would have started; each kind of work says what is small."""
    return bool((option or os.environ.get("RAY_ADDRESS", "")).strip())


def answering(address: ClusterAddress) -> str:
    """host:port of the cluster's head, which has answered and taken our token, if it asks for one.

    Raises UserError, in less than a minute, that names what to change.
    """
    from ray.exceptions import AuthenticationError, RpcError

    from cluster import ray_internals

    _refuse_other_kinds(address)
    try:
        found = ray_internals.head_of(address.text)
    except (ConnectionError, ValueError, OSError) as error:
        reason = str(error).partition("\n")[0].partition(". Please")[0].rstrip(".")
        raise UserError(f"{address}: {reason}; start one with `ray start --head`, or {address.way_out}") from error
    where = f"{address}" if found == address.text else f"{address}, the cluster at {found}"
    host, _, port = found.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S):
            pass
        ray_internals.give_token_if_asked(found)
    except AuthenticationError as error:
        raise UserError(
            f"{where}: the cluster asks for a token and refuses this one; give its own, which is in "
            "~/.ray/auth_token of its head, in RAY_AUTH_TOKEN or in the same file here"
        ) from error
    except (OSError, ValueError, RpcError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error).partition("\n")[0].rstrip(".")
        raise UserError(
            f"{where}: no Ray cluster answers there ({reason}); start one with `ray start --head`, or {address.way_out}"
        ) from error
    return found


def _refuse_other_kinds(address: ClusterAddress) -> None:
    """Raises UserError for addresses that lead to a cluster by another way."""
    if address.text.startswith("ray://"):
        raise UserError(
            f"{address}: jobs are drivers of their own and do not run through a Ray client; from elsewhere send one by "
            "`emovox submit JOB ... --address http://HEAD:8265`, on a node of the cluster give HEAD:6379 or auto"
        )
    if address.text.startswith(("http://", "https://")):
        raise UserError(
            f"{address}: a dashboard's address, to which `emovox submit` sends jobs; on a node of the cluster give --address "
            f"HEAD:6379 or auto, or {address.way_out}"
        )
