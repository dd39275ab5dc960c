"""One training from its first look at the output folder to its last saved state, in this process or on Ray Train's workers.

OUT/identity.json       what decides the weights; another training into the same folder is refused
OUT/lease.json          while it runs: a second command into the same folder is refused
OUT/training_state.pt   what it goes on from, beside the files of the network that the loop writes

Student and teacher are both trained so; what differs is the loop.
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
    """name: for people; identity: what decides the weights, as against where and how fast they are computed.

    workers: of Ray Train; 0 trains in this process. min_workers: train with as few as these while the cluster has no room
    for all; None: never fewer.
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
    """Runs the loop until the last epoch is saved, from the last saved one on. Returns the state after it.

    prepare: makes what every worker is given; it is called where epochs are left to train. Ray hands it to each node once.

    Raises UserError if another run writes into the folder, takes it over, or another training is there; if there is no GPU
    where one is asked for; if the loop raises FloatingPointError; or as `train_on_workers`.
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
    """The history of a training and its best network so far; goes on from the last saved state, trainer included."""

    def __init__(self, trainer: Trainer, context: LocalContext):
        self.trainer, self.context = trainer, context
        self.history: list[dict[str, Any]] = []
        self.best = b""
        if (state := context.load()) is not None:
            trainer.load_state(state.trainer)
            self.history, self.best = state.history, state.best

    def record(self, metrics: dict[str, Any]) -> None:
        """Of an epoch that is done."""
        self.history.append(metrics)

    def keep_best(self, network_file: bytes) -> None:
        self.best = network_file

    def save(self, network_files: dict[str, bytes]) -> None:
        """After an epoch, on every worker: rank 0 writes the network's files (name -> content) and, last, the state."""
        files = {}
        if self.context.rank == 0:
            state = TrainingState(trainer=self.trainer.state(), history=self.history, best=self.best)
            files = network_files | {STATE_FILE: state.to_bytes()}
        self.context.save(files, self.history[-1])
