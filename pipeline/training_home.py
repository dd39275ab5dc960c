"""Where a training loop runs and keeps its state: in this process, or on the DDP workers of Ray Train.

The state lies in the output folder, written whole after each epoch, by whatever runs there. So a lost worker, a lost
node or a stopped command costs the steps since the last epoch, and the next run may have any number of workers.
"""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from logging.handlers import QueueHandler, QueueListener

import ray
import ray.train
import ray.train.torch
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig, WorkerGroupError
from ray.util.queue import Queue
from torch import nn

from cluster import identity, storage
from cluster.budget import Stage
from cluster.failures import UserError
from cluster.session import place
from pipeline.devices import local_device

STATE_FILE = "training_state.pt"
"""What training goes on from; it lies beside the trained network's own file."""

WORKER_RESTARTS = 3
"""How often lost workers are replaced before the job gives up; the same command then still goes on."""

log = logging.getLogger("emovox")


@dataclass(frozen=True)
class Workers:
    """DDP workers of Ray Train, each with a CPU and, where asked for, a GPU.

    least: train with as few as these while the cluster has no room for all, and take more when it has; None: never fewer.
    """

    number: int
    gpu: bool
    least: int | None = None


class OutputFolder:
    """State of a run: files in the output folder."""

    rank, world_size = 0, 1

    def __init__(self, output_uri: str):
        self.output_uri = output_uri

    def device(self, gpu: bool) -> str | torch.device:
        return local_device(gpu)

    def wrap(self, network: nn.Module) -> nn.Module:
        return network

    def load(self) -> dict | None:
        """The last saved state, or None before the first."""
        uri = storage.join(self.output_uri, STATE_FILE)
        if not storage.exists(uri):
            return None
        return torch.load(io.BytesIO(storage.read_bytes(uri)), weights_only=True, map_location="cpu")

    def save(self, files: dict[str, bytes], metrics: dict) -> None:
        """files: name -> content, `STATE_FILE` among them, which is written last; rank 0's count."""
        for name in sorted(files, key=lambda name: name == STATE_FILE):
            storage.write_bytes(storage.join(self.output_uri, name), files[name])


class RayWorker(OutputFolder):
    """One worker of a Ray Train run: the same state, written by rank 0."""

    def __init__(self, output_uri: str, messages: Queue):
        super().__init__(output_uri)
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        if self.rank == 0:
            log.addHandler(QueueHandler(messages))
            log.setLevel(logging.INFO)

    def device(self, gpu: bool) -> torch.device:
        return ray.train.torch.get_device()

    def wrap(self, network: nn.Module) -> nn.Module:
        return ray.train.torch.prepare_model(network)

    def load(self) -> dict | None:
        """As for any run. Raises UserError if this worker does not see the output folder."""
        if not storage.exists(storage.join(self.output_uri, identity.FILE)):
            raise UserError(
                f"{self.output_uri} is not the same folder on every node of the cluster; give --out as s3:// or on a "
                "file system that the nodes share"
            )
        return super().load()

    def save(self, files: dict[str, bytes], metrics: dict) -> None:
        super().save(files, metrics)
        shown = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
        log.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in shown.items()))
        ray.train.report(metrics)


def train_on_workers(name: str, loop: Callable[[RayWorker], None], output_uri: str, workers: Workers) -> None:
    """Runs the loop on every worker. Lines that rank 0 logs appear here.

    Raises UserError if the loop stops by FloatingPointError (on all workers alike) or UserError.
    """
    least = workers.number if workers.least is None else workers.least
    place([Stage(name=name, workers=least, cpus=1.0, gpus=float(workers.gpu))])
    filesystem, path = storage.resolve(storage.join(output_uri, "ray_train"))

    def train(messages: Queue) -> str | None:
        try:
            loop(RayWorker(output_uri, messages))
        except FloatingPointError as error:  # would come again: no restart
            return str(error)
        return None

    with _messages() as messages:
        trainer = ray.train.torch.TorchTrainer(
            lambda: train(messages),
            scaling_config=ScalingConfig(
                num_workers=workers.number if least == workers.number else (least, workers.number),
                use_gpu=workers.gpu,
            ),
            run_config=RunConfig(
                name=name.replace(" ", "_"),
                storage_path=path,
                storage_filesystem=filesystem,
                failure_config=FailureConfig(max_failures=WORKER_RESTARTS),
            ),
        )
        try:
            result = trainer.fit()
        except WorkerGroupError as error:
            for failure in error.worker_failures.values():
                if isinstance(failure, UserError):
                    raise failure from error
            raise
    if result.return_value is not None:
        raise UserError(result.return_value)


class _Forward(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        log.handle(record)


@contextlib.contextmanager
def _messages() -> Iterator[Queue]:
    """A queue whose log records, put there by any process of the cluster, go through this process's log."""
    queue = Queue(actor_options={"num_cpus": 0})
    listener = QueueListener(queue, _Forward())
    listener.start()
    try:
        yield queue
    finally:
        with contextlib.suppress(ray.exceptions.RayError):  # the cluster may be gone
            listener.stop()
            queue.shutdown()
