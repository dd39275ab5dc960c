"""With how many threads torch computes one thing."""

import contextlib
from collections.abc import Generator

import torch
from torch import nn

LARGE_NETWORK = 30_000_000
"""Weights. A network of more answers in seconds and is worth all cores; a smaller one is done before others have joined in."""


@contextlib.contextmanager
def torch_threads(count: int) -> Generator[None]:
    """Inside the block each operation takes `count` threads, in this thread and in those that begin there.

    Operations of a few milliseconds are best done by one: several wait for each other, and where other programs have the cores,
    they wait for those too (ten times as long on a busy machine; docs/log.md).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_for(network: nn.Module, cores: int) -> int:
    """Threads for one answer of the network: all cores for a large one, else 1."""
    return cores if sum(weights.numel() for weights in network.parameters()) > LARGE_NETWORK else 1
