"""Where Ray is started: an embedded single-node session, or an existing cluster. Nothing else calls `ray.init`."""

import contextlib
import logging
import os
import time
from collections.abc import Generator, Sequence
from typing import Any

import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RpcError

from cluster import ray_internals
from cluster.budget import EMBEDDED_EXTRA_CPUS, Stage, require_room
from cluster.cluster_address import answering, cluster_address
from cluster.cores import local_cores
from cluster.failures import UserError
from cluster.working_tree import PROJECT_ROOT, is_checkout, python_path, working_tree

OBJECT_STORE_BYTES = 512 * 2**20
"""Shared memory of the embedded session. The label plan moves only small crops, so half a GiB is ample."""

EMBEDDED_NAMESPACE = "emovox-embedded"

NODES_WAIT_S = 40.0
"""How long a plan waits for nodes that join or that the autoscaler starts. Then it is refused."""

CLUSTER_RESERVE_CPUS = 4
"""CPUs of a cluster that a job with one stage leaves free for its read tasks."""

log = logging.getLogger(__name__)


def is_remote(address: str | None) -> bool:
    """True if `--address` or RAY_ADDRESS (which Ray sets inside a submitted job) names a cluster."""
    return cluster_address(address) is not None


@contextlib.contextmanager
def session(address: str | None) -> Generator[None]:
    """Connects to Ray during the block: a Ray already running in this process, the cluster at `address`, or an embedded
    session."""
    started = not ray.is_initialized()
    if started:
        _start(address)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.raise_original_map_exception = True  # so that a worker's UserError reaches the driver
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        ray_internals.quiet_data_logs()
        yield
    finally:
        if started:
            ray.shutdown()


def worker_cores(address: str | None) -> int:
    """Cores available for one-core workers: this machine's, or the cluster's minus what other stages need."""
    return (
        max(1, int(ray.cluster_resources().get("CPU", 1) - CLUSTER_RESERVE_CPUS))
        if is_remote(address)
        else local_cores()
    )


def is_embedded() -> bool:
    """True inside an embedded session, whose size is fixed."""
    return ray.get_runtime_context().namespace == EMBEDDED_NAMESPACE


def living_nodes() -> list[dict[str, float]]:
    """Ray resource name -> amount, for each living node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def wait_for_room(stages: Sequence[Stage], task_cpus: float = 0.0) -> None:
    """Returns once the living nodes can hold the stages. Raises UserError if the plan would wait forever.

    On a cluster, asks the autoscaler for what is missing and waits up to `NODES_WAIT_S` for nodes to join.
    task_cpus: see `cluster.budget.require_room`.
    """
    give_up = time.monotonic() + (0.0 if is_embedded() else NODES_WAIT_S)
    bundles: list[dict[str, float]] = []
    try:
        while True:
            try:
                return require_room(stages, living_nodes(), task_cpus)
            except UserError as lack:
                if time.monotonic() > give_up:
                    raise
                if not bundles:
                    log.info("waiting up to %.0f s for nodes: %s", NODES_WAIT_S, lack)
                    bundles = [stage.needs() for stage in stages for _ in range(stage.workers)]
                    request_resources(bundles=bundles)
            time.sleep(1.0)
    finally:
        if bundles:
            request_resources(
                bundles=[]
            )  # the running plan keeps its own nodes; an open request would keep them forever


def _start(address: str | None) -> None:
    quiet: dict[str, Any] = {
        "logging_level": logging.ERROR,
        "log_to_driver": os.environ.get("EMOVOX_WORKER_LOGS") == "1",
    }
    if (named := cluster_address(address)) is None:
        log.info("starting an embedded Ray session on %d cores", local_cores())
        ray_internals.use_embedded_settings()
        _start_embedded(quiet)
        return
    head = answering(named)
    log.info("joining the Ray cluster at %s", head)
    runtime_env = {} if ray_internals.is_submitted_job() else working_tree()  # a submitted job already has its own
    if not is_checkout():  # a checkout travels, and comes first anyway
        quiet["job_config"] = ray_internals.modules_first_from(str(PROJECT_ROOT))
    try:
        ray.init(address=head, runtime_env=runtime_env, **quiet)
    except (OSError, RuntimeError, ValueError, RpcError) as error:
        raise UserError(
            f"{named}: the cluster at {head} cannot be joined from here ({str(error).partition(chr(10))[0]}); give the "
            f"command on one of its nodes, or send it there by `emovox submit`, or {named.way_out}"
        ) from error


def _start_embedded(quiet: dict[str, Any]) -> None:
    """Raises UserError if Ray's processes do not start in time, as on a very busy machine."""
    try:
        ray.init(
            address="local",  # ignores a cluster that `ray start` may have left running here
            num_cpus=local_cores() + EMBEDDED_EXTRA_CPUS,
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            namespace=EMBEDDED_NAMESPACE,
            job_config=ray_internals.modules_first_from(str(PROJECT_ROOT)),
            runtime_env={"env_vars": {"PYTHONPATH": python_path(os.environ.get("PYTHONPATH", ""))}},
            **quiet,
        )
    except Exception as error:  # Ray has no exception class for this
        first_line = str(error).partition(chr(10))[0]
        if isinstance(error, ConnectionError) or "timed out during startup" in first_line:
            raise UserError(
                f"Ray could not be started on this machine ({first_line}); if the machine is too busy or "
                "/tmp is full, change that, and give this command again: it continues from what is written"
            ) from error
        if isinstance(error, OSError):
            raise UserError(
                f"Ray could not be started on this machine ({first_line}); set RAY_TMPDIR to a folder of your own with a "
                "short path (up to 40 characters), in place of /tmp/ray or what TMPDIR says"
            ) from error
        raise
