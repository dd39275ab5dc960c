"""Which device of this machine a job that runs in its own process uses."""

import torch

from cluster.failures import UserError


def local_device(gpu: bool) -> str:
    """ "cuda" or "cpu". Raises UserError if a GPU is asked for and none is usable here."""
    if gpu and not torch.cuda.is_available():
        raise UserError("--gpu: torch finds no GPU on this machine; leave the option out, or run where there is one")
    return "cuda" if gpu else "cpu"
