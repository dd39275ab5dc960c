"""Runs a training loop on Ray Train's DDP workers, and survives the loss of workers and nodes.

An attempt ends when a worker is lost: the others stop, and all start again from the last saved epoch. Attempts are
counted here and not by Ray's FailureConfig, which counts over the whole run (days of training on nodes that come and
go would use up any number) and waits silently and forever for a node that does not come back.
"""

import contextlib
import logging
import signal
import tempfile
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from logging.handlers import QueueListener

import ray
import ray.train.torch
from ray.exceptions import RayActorError, RayError
from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.queue import Queue

from cluster import storage
from cluster.budget import Stage, room_for
from cluster.failures import UserError
from cluster.lease import Proof
from cluster.logs import log_as_received
from cluster.session import living_nodes, wait_for_room
from pipeline.training.context import RayTrainContext
from pipeline.training.state import STATE_FILE

RESTARTS = 3
"""How often in a row workers are replaced, without a finished epoch in between, before the job gives up."""

SILENT_WAIT_S = 15.0
"""How long the job waits for workers before it says so; a free cluster places them in less than a second."""

LONGEST_WAIT_S = 900.0
"""How long the job waits for a cluster that lost nodes; a cloud usually brings a new node sooner."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """DDP workers of Ray Train, each with a CPU and, if asked for, a GPU.

    least: train with as few as this many while the cluster has no room for all, and add more when it has; None: always all.
    """

    number: int
    gpu: bool
    least: int | None = None

    @property
    def fewest(self) -> int:
        return self.number if self.least is None else self.least

    def stage(self, name: str) -> Stage:
        return Stage(name=name, workers=self.fewest, gpus=float(self.gpu))

    def scaling(self) -> ScalingConfig:
        number = self.number if self.fewest == self.number else (self.fewest, self.number)
        return ScalingConfig(num_workers=number, use_gpu=self.gpu)


def train_on_workers(name: str, loop: Callable[[RayTrainContext], None], workers: Workers, lease: Proof) -> None:
    """Runs the loop on every worker until it ends. Log lines of rank 0 appear in this process.

    lease: the lease of the run, whose output folder the loop's context writes to.

    Raises UserError if the loop raises FloatingPointError (which all workers raise alike) or UserError, if workers are lost
    again and again, or if no node replaces a lost one. Any other exception of the loop is a bug and raises at once,
    except RuntimeError, with which torch reports that another worker is gone.
    """
    wait_for_room([workers.stage(name)])
    failures, saved = 0, _saved(lease.output_uri)
    with _messages() as messages:
        while True:
            try:
                stopped_by = _attempt(name, lambda: _run(loop, RayTrainContext(lease, messages)), workers)
                break
            except (TrainingFailedError, RayActorError) as error:
                _require_accident(error)
                last, saved = saved, _saved(lease.output_uri)
                failures = failures + 1 if saved == last else 1
                if failures > RESTARTS:
                    raise _given_up(name, error) from error
                log.warning("%s: %s; going on from the last saved epoch", name, _cause(error))
                _wait_for_room(workers.stage(name))
    if stopped_by is not None:
        raise UserError(stopped_by)


def _run(loop: Callable[[RayTrainContext], None], worker: RayTrainContext) -> str | None:
    try:
        loop(worker)
    except FloatingPointError as error:  # it would happen again, so no restart
        return str(error)
    return None


def _attempt(name: str, train: Callable[[], str | None], workers: Workers) -> str | None:
    """Runs one group of workers until the loop ends or one of them is lost. Returns what rank 0's loop returns.

    Ray Train gets a scratch folder. `LocalContext` writes the state; Ray's own files, which it writes without retries, must
    not end a training when the object store is away for a moment.
    """
    with tempfile.TemporaryDirectory(prefix="emovox-") as scratch, _interruptible():
        trainer = ray.train.torch.TorchTrainer(
            train,
            scaling_config=workers.scaling(),
            run_config=RunConfig(
                name=name.replace(" ", "_"),
                storage_path=scratch,
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
            ),
        )
        return trainer.fit().return_value


@contextlib.contextmanager
def _interruptible() -> Generator[None]:
    """Makes Ctrl-C raise KeyboardInterrupt. Ray Train would end the process with code 0, as if it had finished, and leave
    its handler in place."""
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stopped:
        raise KeyboardInterrupt from stopped
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler)


def _saved(output_uri: str) -> str | None:
    """A string that identifies the saved state."""
    uri = storage.join(output_uri, STATE_FILE)
    return storage.version(uri) if storage.exists(uri) else None


def _failures(error: Exception) -> list[Exception]:
    """The exception of each worker that failed, or Ray's own."""
    if isinstance(error, WorkerGroupError):
        return list(error.worker_failures.values())
    return [error.controller_failure] if isinstance(error, ControllerError) else [error]


def _is_ray(failure: Exception) -> bool:
    """Whether Ray reports that a process or a node is gone or does not start."""
    return type(failure).__module__.split(".")[0] == "ray"


def _require_accident(error: Exception) -> None:
    """Raises what would happen again in another attempt: a UserError of the loop, or a bug."""
    for failure in _failures(error):
        if isinstance(failure, UserError):
            raise failure from error
    if not all(_is_ray(failure) or isinstance(failure, RuntimeError) for failure in _failures(error)):
        raise error


def _cause(error: Exception) -> str:
    """One line, preferably about the lost worker and not from those that noticed the loss."""
    failures = sorted(_failures(error), key=lambda failure: not _is_ray(failure))
    told = getattr(failures[0], "health_check_failure", failures[0])  # what Ray wraps
    lines = [line.strip() for line in str(told).splitlines() if line.strip()]
    line = (lines or [type(told).__name__])[0][:300]
    return (
        f"{sum(map(_is_ray, failures)) or len(failures)} worker(s) lost ({line})"
        if isinstance(error, WorkerGroupError)
        else line
    )


def _given_up(name: str, error: Exception) -> Exception:
    if not any(map(_is_ray, _failures(error))):
        return error
    return UserError(
        f"{name} was stopped {RESTARTS + 1} times without an epoch finished in between, last: {_cause(error)}. Look at the "
        "memory of the nodes; the same command goes on from the last saved epoch"
    )


def _wait_for_room(stage: Stage) -> None:
    """Waits until the stage's workers can be placed, and tells an autoscaler what they need. Raises UserError after
    `LONGEST_WAIT_S`.

    `cluster.session.wait_for_room` is not enough here, because it looks at what nodes have and not at what is free: a dead
    node still counts until Ray notices its silence, and another job may have taken the room.
    """
    group = placement_group([stage.needs()] * stage.workers)
    try:
        if group.wait(SILENT_WAIT_S):
            return
        log.warning("%s waits up to %.0f minutes for nodes: %s", stage.name, LONGEST_WAIT_S / 60, _lack(stage))
        if not group.wait(LONGEST_WAIT_S):
            raise UserError(
                f"{stage.name}: {_lack(stage)}. Nothing is lost: the same command goes on from the last saved epoch, with "
                "fewer workers too (--workers, --min-workers)"
            )
        log.info("%s goes on: there is room again", stage.name)
    finally:
        remove_placement_group(group)


def _lack(stage: Stage) -> str:
    """Says what is needed and what is free."""
    nodes = living_nodes()
    each = " and ".join(f"{amount:g} {name}" for name, amount in stage.needs().items())
    free = ", ".join(f"{ray.available_resources().get(name, 0):g} {name}" for name in stage.needs())
    return (
        f"{stage.workers} workers with {each} each are needed; the {len(nodes)} nodes alive hold "
        f"{room_for(stage, [], nodes)} of them at most, and have {free} free now"
    )


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log_as_received(record)


@contextlib.contextmanager
def _messages() -> Generator[Queue]:
    """A queue of log records from any process of the cluster, which this process logs.

    It runs on this process's node, so that it is not lost with another node.
    """
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    queue = Queue(actor_options={"num_cpus": 0, "label_selector": here})
    listener = QueueListener(queue, _Forward())
    listener.start()
    try:
        yield queue
    finally:
        with contextlib.suppress(RayError):  # the cluster may be gone
            listener.stop()
            queue.shutdown()
