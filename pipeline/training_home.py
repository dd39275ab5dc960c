"""Where a training loop runs and keeps its state: in this process, or on the DDP workers of Ray Train.

With workers the state travels as Ray Train checkpoints, so that a lost worker or node costs the steps since the last one.
"""

import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ray.data
import ray.train
import ray.train.torch
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from torch import nn

from cluster import storage
from cluster.budget import Stage
from cluster.session import place
from pipeline.devices import local_device

STATE_FILE = "training_state.pt"
"""What training goes on from; it lies beside the trained network's own file."""

WORKER_RESTARTS = 3
"""How often lost workers are replaced before the job gives up; the same command then still goes on."""


@dataclass(frozen=True)
class Workers:
    """DDP workers of Ray Train, each with a CPU and, where asked for, a GPU."""

    number: int
    gpu: bool


class OutputFolder:
    """State of an in-process run: files in the output folder."""

    rank, world_size = 0, 1

    def __init__(self, output_uri: str):
        self.output_uri = output_uri

    def device(self, gpu: bool) -> str:
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
        """files: name -> content, `STATE_FILE` among them; rank 0's count."""
        for name, data in files.items():
            storage.write_bytes(storage.join(self.output_uri, name), data)


class RayWorker:
    """State of a Ray Train run: a checkpoint with the same files, reported by rank 0."""

    def __init__(self, output_uri: str):
        self.output_uri = output_uri
        context = ray.train.get_context()
        self.rank, self.world_size = context.get_world_rank(), context.get_world_size()

    def device(self, gpu: bool) -> torch.device:
        return ray.train.torch.get_device()

    def wrap(self, network: nn.Module) -> nn.Module:
        return ray.train.torch.prepare_model(network)

    def load(self) -> dict | None:
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:  # a first start, or one after a run with another number of workers
            return OutputFolder(self.output_uri).load()
        with checkpoint.as_directory() as folder:
            return torch.load(Path(folder) / STATE_FILE, weights_only=True, map_location="cpu")

    def save(self, files: dict[str, bytes], metrics: dict) -> None:
        if self.rank:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, data in files.items():
                (Path(folder) / name).write_bytes(data)
            ray.train.report(metrics, checkpoint=Checkpoint.from_directory(folder))


def train_on_workers(
    name: str,
    loop: Callable[[RayWorker], None],
    output_uri: str,
    workers: Workers,
    datasets: dict[str, ray.data.Dataset] | None = None,
) -> None:
    """Runs the loop on every worker; the files of its last checkpoint end in the output folder."""
    place([Stage(name=name, workers=workers.number, cpus=1.0, gpus=float(workers.gpu))])
    filesystem, path = storage.resolve(storage.join(output_uri, "ray_train"))
    result = ray.train.torch.TorchTrainer(
        lambda: loop(RayWorker(output_uri)),
        scaling_config=ScalingConfig(num_workers=workers.number, use_gpu=workers.gpu),
        run_config=RunConfig(
            name=name.replace(" ", "_"),
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=WORKER_RESTARTS),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
        datasets=datasets,
    ).fit()
    with result.checkpoint.as_directory() as folder:
        for file in Path(folder).iterdir():
            storage.write_bytes(storage.join(output_uri, file.name), file.read_bytes())
