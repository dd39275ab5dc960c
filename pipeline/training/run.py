"""Runs a training, of a student or a teacher, until its last epoch is saved: in this process or on Ray Train's workers.

OUT/identity.json       what determines the weights; another training into the same folder is refused
OUT/lease.json          exists during the run; a second command into the same folder is refused
OUT/training_state.pt   what the training continues from, next to the network files that the loop writes
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import ray

from cluster.devices import local_device
from cluster.failures import UserError
from cluster.identity import claim
from cluster.lease import Proof, lease
from cluster.session import session
from pipeline.training.context import LocalContext
from pipeline.training.ray_workers import Workers, train_on_workers
from pipeline.training.state import STATE_FILE, TrainingState

Data = TypeVar("Data")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """name: for messages; identity: what determines the weights, and not where or how fast they are computed.

    workers: of Ray Train; 0 trains in this process. min_workers: train with as few as this many while the cluster has no
    room for all; None: always all.
    """

    name: str
    output_uri: str
    identity: dict[str, Any]
    epochs: int
    workers: int = 0
    min_workers: int | None = None
    gpu: bool = False


def train(
    plan: TrainingPlan,
    prepare: Callable[[], Data],
    loop: Callable[[Data, LocalContext], None],
    address: str | None = None,
) -> TrainingState:
    """Runs the loop from the last saved epoch until the last epoch is saved. Returns the final state.

    prepare: makes the data for the workers; it is called only if epochs are left. Ray sends the data to each node once.

    Raises UserError if another run writes into the folder or takes it over, or the folder holds another training; if a GPU
    is asked for and there is none; if the loop raises FloatingPointError; and as `train_on_workers` does.
    """
    if plan.workers == 0:
        local_device(plan.gpu)
    with lease(plan.output_uri) as held:
        claim(plan.output_uri, plan.identity)
        context = LocalContext(held.proof)
        state = context.load()
        if state is None or state.epoch < plan.epochs:
            _run_loop(plan, prepare(), loop, held.proof, address)
            held.confirm()
            state = context.load()
        if state is None:
            raise RuntimeError(f"{plan.name} ended without a saved epoch in {plan.output_uri}")
        return state


def _run_loop(
    plan: TrainingPlan, data: Data, loop: Callable[[Data, LocalContext], None], held: Proof, address: str | None
) -> None:
    if plan.workers == 0:
        try:
            loop(data, LocalContext(held))
        except FloatingPointError as error:
            raise UserError(str(error)) from error
        return
    with session(address):
        shared = ray.put(data)
        workers = Workers(number=plan.workers, gpu=plan.gpu, least=plan.min_workers)
        train_on_workers(plan.name, lambda context: loop(ray.get(shared), context), workers, held)


class Trainer(Protocol):
    """What a loop trains: `modeling.distillation.trainer.StudentTrainer` and the teacher's."""

    def state(self) -> dict[str, Any]: ...
    def load_state(self, state: dict[str, Any]) -> None: ...


class CheckpointWriter:
    """Keeps the history of a training and its best network so far. It starts from the last saved state, which it also loads
    into the trainer."""

    def __init__(self, trainer: Trainer, context: LocalContext):
        self.trainer, self.context = trainer, context
        self.history: list[dict[str, Any]] = []
        self.best = b""
        if (state := context.load()) is not None:
            trainer.load_state(state.trainer)
            self.history, self.best = state.history, state.best

    def record(self, metrics: dict[str, Any]) -> None:
        """Adds the metrics of a finished epoch to the history."""
        self.history.append(metrics)

    def keep_best(self, network_file: bytes) -> None:
        self.best = network_file

    def save(self, network_files: dict[str, bytes]) -> None:
        """Call after each epoch on every worker: rank 0 writes the network's files (name -> content) and then the state."""
        files = {}
        if self.context.rank == 0:
            state = TrainingState(trainer=self.trainer.state(), history=self.history, best=self.best)
            files = network_files | {STATE_FILE: state.to_bytes()}
        self.context.save(files, self.history[-1])
