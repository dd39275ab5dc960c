"""What every training loop here needs: its place among the processes, seeds, a guarded step, a moving average."""

import contextlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


@dataclass(frozen=True, kw_only=True)
class TrainingProcess:
    """One process of a data-parallel training; by default the only one, on the CPU.

    wrap: puts data parallelism around a network (for example ray.train.torch.prepare_model).
    """

    device: torch.device | str = "cpu"
    rank: int = 0
    world_size: int = 1
    wrap: Callable[[nn.Module], nn.Module] = lambda network: network

    def mean(self, value: float) -> float:
        """Mean of `value` over the processes; all of them get the same result."""
        if self.world_size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(total)
        return total.item() / self.world_size


ALONE = TrainingProcess()
"""The only process, on the CPU."""


@contextlib.contextmanager
def seeded(device: torch.device, seed: int) -> Generator[None]:
    """Seeds torch inside the block and restores the caller's random state after it."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets the rate of every parameter group; a group with a `factor` gets that multiple."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)


def guarded_step(
    loss: Tensor,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    step: int,
    remedy: str,
    grad_clip: float | None = None,
) -> float:
    """Takes one optimiser step and returns the value of the loss. grad_clip: largest norm of the gradient, or None.

    Raises FloatingPointError before the weights change if the loss or the gradient is not finite; remedy: advice for the
    message. The norm is that of the averaged gradient, so if one process fails, all fail and none waits for the others.
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(network.parameters(), grad_clip or math.inf).item()
    value = loss.item()
    if not (math.isfinite(value) and math.isfinite(norm)):
        raise FloatingPointError(
            f"loss {value}, gradient norm {norm} at step {step}: {remedy}; the last checkpoint is good"
        )
    optimizer.step()
    return value


class Ema(AveragedModel):
    """Exponential moving average of a network: evaluate and save its `module`; call `update_parameters` after each step.

    The decay rises as min(decay, (1 + steps) / (10 + steps)), so the initial weights are soon forgotten. first_step:
    value of `steps` at the first update. Frozen parameters are shared with the network.
    """

    def __init__(self, network: nn.Module, decay: float, first_step: int):
        def average(averaged: Sequence[Tensor], trained: Sequence[Tensor], updates: Tensor | int) -> None:
            steps = first_step + int(updates) - 1
            for ours, theirs in zip(averaged, trained, strict=True):
                if not ours.is_floating_point():
                    ours.copy_(theirs)  # a count
                elif ours.data_ptr() != theirs.data_ptr():
                    ours.lerp_(theirs, 1 - min(decay, (1 + steps) / (10 + steps)))

        super().__init__(network, multi_avg_fn=average, use_buffers=True)
        self.eval()
        self.n_averaged += 1  # the first update would be a copy
        for ours, theirs in zip(self.module.parameters(), network.parameters(), strict=True):
            if not theirs.requires_grad:
                ours.data = theirs.data

    def restore(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Loads the weights after `updates` updates; parameters that the state lacks keep their values."""
        self.module.load_state_dict(self.module.state_dict() | dict(state))
        self.n_averaged.fill_(1 + updates)
