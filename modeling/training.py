"""What the processes of a data-parallel training tell each other beside gradients."""

import torch


def mean_over_processes(value: float, world_size: int, device: torch.device) -> float:
    """The mean of one number of each process, the same in all of them."""
    if world_size == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(total)
    return total.item() / world_size
