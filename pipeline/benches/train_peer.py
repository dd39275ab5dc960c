"""The peer of `emovox bench train`: a training of the same student in plain PyTorch, started by torchrun.

DistributedDataParallel (gloo, or nccl on GPUs) and a DataLoader with persistent worker processes over a map-style
dataset of the same utterances; network, loss, optimiser and augmentation are those of the recipe.
"""

import argparse
import itertools
import json
import math
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from modeling.distillation.loss import distillation_loss
from modeling.distillation.recipes import STUDENT_RECIPES, StudentRecipe
from modeling.distillation.targets import draw_window, pool_logits, window_of, window_span
from modeling.distillation.trainer import TrainingModule, training_precision
from modeling.students.build import build_student
from pipeline.benches.train import UNTIMED_STEPS
from pipeline.distillation.batches import LabelIndex
from pipeline.media.flac import decode_flac


class Windows(Dataset):
    """A random window of each utterance and its target; the rows are in memory, the speech as FLAC."""

    def __init__(self, rows: pa.Table, recipe: StudentRecipe):
        self.rows = rows
        self.recipe = recipe

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        row = {name: self.rows[name][number].as_py() for name in ("speech_flac", "frame_indices", "frame_logits")}
        speech_T, frame_indices_N = decode_flac(row["speech_flac"]), np.array(row["frame_indices"])
        start = draw_window(np.random.default_rng(), len(speech_T), frame_indices_N)
        frame_logits_NE = np.array(row["frame_logits"], np.float32)
        target_E = pool_logits(frame_logits_NE, frame_indices_N, *window_span(start), how=self.recipe.target_pooling)
        return window_of(speech_T, start, self.recipe.padding), target_E


class Training:
    """One process of the data-parallel training."""

    def __init__(self, recipe: StudentRecipe, device: torch.device):
        self.recipe = recipe
        self.device = device
        self.student = build_student(recipe.student).to(device)
        self.average = [p.detach().clone() for p in self.student.parameters()] if recipe.ema_decay else None
        network = TrainingModule(self.student, recipe.spec_augment, training_precision(recipe, device))
        self.network = DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)
        parameters = self.student.parameters()
        if recipe.optimiser == "sgd":
            self.optimizer = torch.optim.SGD(
                parameters, recipe.lr_start, momentum=recipe.momentum, weight_decay=recipe.weight_decay
            )
        else:
            self.optimizer = torch.optim.AdamW(parameters, recipe.lr_start, weight_decay=recipe.weight_decay)

    def step(self, speech_BT: torch.Tensor, target_BE: torch.Tensor) -> float:
        speech_BT = speech_BT.to(self.device, non_blocking=True)
        target_BE = target_BE.to(self.device, non_blocking=True)
        loss = distillation_loss(self.network(speech_BT), target_BE, self.recipe.temperature)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), self.recipe.grad_clip or math.inf)
        self.optimizer.step()
        if self.average:
            parameters = [p.detach() for p in self.student.parameters()]
            torch._foreach_lerp_(self.average, parameters, 0.01)  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
        return loss.item()


class EndlessSampler(DistributedSampler):
    """Endless passes, so that the loader does not run empty when a new pass begins."""

    def __iter__(self):
        for epoch in itertools.count():
            self.set_epoch(epoch)
            yield from super().__iter__()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("labels", "out", "recipe"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("steps", "stretches", "loaders"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--gpu", action="store_true")
    options = parser.parse_args()
    recipe = STUDENT_RECIPES[options.recipe]()
    rank = int(os.environ["RANK"])
    index = LabelIndex(options.labels)
    places = index.places(index.training())
    data = Windows(places.read(np.arange(len(places))), recipe)
    torch.distributed.init_process_group("nccl" if options.gpu else "gloo")
    world_size = torch.distributed.get_world_size()
    loader = DataLoader(
        data,
        batch_size=recipe.batch_size // world_size,
        sampler=EndlessSampler(data, shuffle=True, drop_last=True),
        num_workers=options.loaders,
        persistent_workers=options.loaders > 0,
        pin_memory=options.gpu,
        drop_last=True,
    )
    training = Training(
        recipe, torch.device("cuda", int(os.environ["LOCAL_RANK"])) if options.gpu else torch.device("cpu")
    )
    stream = iter(loader)
    rates = []
    for _ in range(options.stretches + 1):
        for _ in range(UNTIMED_STEPS):
            training.step(*next(stream))
        began = time.perf_counter()
        for _ in range(options.steps):
            training.step(*next(stream))
        rates.append(options.steps / (time.perf_counter() - began))
    if rank == 0:
        Path(options.out).write_text(json.dumps({"real": rates[1:]}))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
