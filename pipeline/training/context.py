"""Where a training loop runs, and how it keeps its state: written to the output folder after each epoch.

So a lost worker, a lost node or a stopped command costs only the steps since the last epoch, and the next run may have any
number of workers.
"""

import logging
from logging.handlers import QueueHandler
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.util.queue import Queue
from torch import nn

from cluster import identity, storage
from cluster.devices import local_device
from cluster.failures import UserError
from cluster.lease import Proof
from cluster.logs import send_logs_to
from modeling.training import TrainingProcess
from pipeline.training.state import STATE_FILE, TrainingState, read_state

log = logging.getLogger(__name__)


class LocalContext:
    """A training in this process: its rank, its device, and its files in the output folder.

    lease: the lease of the run; it names the output folder.
    """

    rank, world_size = 0, 1

    def __init__(self, lease: Proof):
        self.lease = lease
        self.output_uri = lease.output_uri

    def device(self, gpu: bool) -> str | torch.device:
        return local_device(gpu)

    def wrap(self, network: nn.Module) -> nn.Module:
        return network

    def process(self, gpu: bool) -> TrainingProcess:
        """What a trainer needs to know about where it runs."""
        return TrainingProcess(device=self.device(gpu), rank=self.rank, world_size=self.world_size, wrap=self.wrap)

    def load(self) -> TrainingState | None:
        """The last saved state, or None if there is none yet."""
        return read_state(self.output_uri)

    def save(self, files: dict[str, bytes], metrics: dict[str, Any]) -> None:
        """files: name -> content, including `STATE_FILE`, which is written last. Only rank 0 writes.

        Raises UserError, before anything more is written, if another run has taken over the output: this one was suspended
        or cut off, and its files are older than what is there.
        """
        for name in sorted(files, key=lambda name: name == STATE_FILE):
            self.lease.check()
            storage.write_bytes(storage.join(self.output_uri, name), files[name])


class RayTrainContext(LocalContext):
    """One worker of a Ray Train run: the same state, written by rank 0."""

    def __init__(self, lease: Proof, messages: Queue):
        super().__init__(lease)
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        if self.rank == 0:
            send_logs_to(QueueHandler(messages))

    def device(self, gpu: bool) -> torch.device:
        return ray.train.torch.get_device()

    def wrap(self, network: nn.Module) -> nn.Module:
        return ray.train.torch.prepare_model(network)

    def load(self) -> TrainingState | None:
        """The last saved state. Raises UserError if this worker does not see the output folder."""
        if not storage.exists(storage.join(self.output_uri, identity.FILE)):
            raise UserError(
                f"{self.output_uri} is not the same folder on every node of the cluster; give --out as s3:// or on a "
                "file system that the nodes share"
            )
        return super().load()

    def save(self, files: dict[str, bytes], metrics: dict[str, Any]) -> None:
        super().save(files, metrics)
        shown = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
        log.info("%s", ", ".join(f"{name} {value:.4g}" for name, value in shown.items()))
        ray.train.report(metrics)
