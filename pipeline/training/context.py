"""Where a training loop keeps its state: in the output folder, written whole after each epoch, by whatever runs there.

So a lost worker, a lost node or a stopped command costs the steps since the last epoch, and the next run may have any
number of workers.
"""

import io
import logging
from logging.handlers import QueueHandler

import ray.train
import ray.train.torch
import torch
from ray.util.queue import Queue
from torch import nn

from cluster import identity, storage
from cluster.devices import local_device
from cluster.failures import UserError
from cluster.logs import send_logs_to
from modeling.training import TrainingProcess

STATE_FILE = "training_state.pt"
"""What training goes on from; it lies beside the trained network's own file."""

log = logging.getLogger(__name__)


class LocalContext:
    """State of a run: files in the output folder."""

    rank, world_size = 0, 1

    def __init__(self, output_uri: str):
        self.output_uri = output_uri

    def device(self, gpu: bool) -> str | torch.device:
        return local_device(gpu)

    def wrap(self, network: nn.Module) -> nn.Module:
        return network

    def process(self, gpu: bool) -> TrainingProcess:
        """What a trainer needs to know of where it runs."""
        return TrainingProcess(device=self.device(gpu), rank=self.rank, world_size=self.world_size, wrap=self.wrap)

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


class RayTrainContext(LocalContext):
    """One worker of a Ray Train run: the same state, written by rank 0."""

    def __init__(self, output_uri: str, messages: Queue):
        super().__init__(output_uri)
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()
        if self.rank == 0:
            send_logs_to(QueueHandler(messages))

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
