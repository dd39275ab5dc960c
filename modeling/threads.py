"""With how many threads torch computes one thing."""

import contextlib
from collections.abc import Generator

import torch


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
