"""Runs a training loop on the DDP workers of Ray Train, through the loss of workers and of nodes.

An attempt ends when a worker is lost: the others stop, and all begin anew from the last saved epoch. Attempts are
counted here and not by Ray's FailureConfig, which counts over the whole run (days of training on nodes that come and
go would use up any number) and waits for ever, without a word, for a node that does not come back.
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
"""How often in a row workers are replaced, without an epoch finished in between, before the job gives up."""

SILENT_WAIT_S = 15.0
"""How long workers are waited for without a word; a free cluster places them in less than a second."""

LONGEST_WAIT_S = 900.0
"""How long a cluster that lost nodes is waited for: longer than a cloud takes to bring a new one, mostly."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """DDP workers of Ray Train, each with a CPU and, where asked for, a GPU.

    least: train with as few as these while the cluster has no room for all, and take more when it has; None: never fewer.
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
    """Runs the loop on every worker until it ends. Lines that rank 0 logs appear here.

    lease: of the run, whose output folder the loop's context writes to.

    Raises UserError if the loop stops by FloatingPointError (on all workers alike) or UserError, if workers are lost
    again and again, or if no node comes in the place of a lost one. Any other exception of the loop is a bug and raises
    at once, but for RuntimeError: so torch tells that another worker is gone.
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
    except FloatingPointError as error:  # would come again: no restart
        return str(error)
    return None


def _attempt(name: str, train: Callable[[], str | None], workers: Workers) -> str | None:
    """One group of workers, until the loop ends or one of them is lost. Returns what rank 0's loop returns.

    Ray Train gets a scratch folder: the state is written by `LocalContext`, and Ray's own notes, which it writes without
    trying twice, must not end a training when the object store is away for a moment.
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
    """Ray Train answers Ctrl-C by ending the process with code 0, as if all were done, and leaves its handler behind."""
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
    """What tells one saved state from another."""
    uri = storage.join(output_uri, STATE_FILE)
    return storage.version(uri) if storage.exists(uri) else None


def _failures(error: Exception) -> list[Exception]:
    """What happened, on each worker that failed or in Ray's own part."""
    if isinstance(error, WorkerGroupError):
        return list(error.worker_failures.values())
    return [error.controller_failure] if isinstance(error, ControllerError) else [error]


def _is_ray(failure: Exception) -> bool:
    """Ray's own word that a process or a node is gone or does not start."""
    return type(failure).__module__.split(".")[0] == "ray"


def _require_accident(error: Exception) -> None:
    """Raises what another attempt would meet again: a UserError of the loop, or a bug."""
    for failure in _failures(error):
        if isinstance(failure, UserError):
            raise failure from error
    if not all(_is_ray(failure) or isinstance(failure, RuntimeError) for failure in _failures(error)):
        raise error


def _cause(error: Exception) -> str:
    """One line, of a lost worker rather than of those that noticed."""
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
    """Until its workers can be placed, which also tells an autoscaler what to bring. Raises UserError in the end.

    Not by `cluster.session.wait_for_room`, which looks at what nodes have and not at what is free: a node that is gone counts
    there until its silence is noticed, and another job may have taken the room.
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
    """What is wanted and what is there, in words."""
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
    """A queue whose log records, put there by any process of the cluster, go through this process's log.

    It lives on this process's node, so that no other node takes it along when it goes.
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
