"""Which device of this machine a job uses, and how work on it is timed."""

import time
from collections.abc import Callable

from cluster.failures import UserError


def local_device(gpu: bool) -> str:
    """ "cuda" or "cpu". Raises UserError if a GPU is asked for and torch finds none."""
    if not gpu:
        return "cpu"
    import torch

    if not torch.cuda.is_available():
        raise UserError("--gpu: torch finds no GPU on this machine; leave the option out, or run where there is one")
    return "cuda"


def work_clock(device: str) -> Callable[[], float]:
    """Returns a clock of the work done in this process: its CPU seconds, which other processes do not lengthen, or wall
    seconds if a GPU does the work."""
    return time.process_time if device == "cpu" else time.perf_counter
