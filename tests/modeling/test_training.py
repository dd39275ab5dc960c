"""What both trainers share: the guarded step and the moving average."""

import copy

import pytest
import torch
from torch import nn

from modeling.training import Ema, guarded_step, set_learning_rate


def test_the_average_follows_its_formula_and_counts_are_copied():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    expected = copy.deepcopy(network.state_dict())
    ema = Ema(network, decay=0.5, first_step=0)
    for step in range(12):
        with torch.no_grad():
            network(torch.randn(8, 3))
            for parameter in network.parameters():
                parameter += torch.randn_like(parameter)
        ema.update_parameters(network)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, tensor in network.state_dict().items():
            is_count = not tensor.is_floating_point()
            expected[name] = tensor.clone() if is_count else decay * expected[name] + (1 - decay) * tensor
    for name, tensor in ema.module.state_dict().items():
        torch.testing.assert_close(tensor, expected[name])


def test_frozen_weights_are_shared_and_not_averaged():
    network = nn.Sequential(nn.Linear(3, 3).requires_grad_(False), nn.Linear(3, 3))
    ema = Ema(network, decay=0.9, first_step=1)
    assert ema.module[0].weight.data_ptr() == network[0].weight.data_ptr()
    assert ema.module[1].weight.data_ptr() != network[1].weight.data_ptr()
    before = network[0].weight.clone()
    ema.update_parameters(network)
    assert torch.equal(network[0].weight, before)


def test_a_restored_average_goes_on_as_if_it_had_not_stopped():
    torch.manual_seed(0)
    network = nn.Linear(3, 4)
    through, stopped = Ema(network, decay=0.99, first_step=0), Ema(network, decay=0.99, first_step=0)
    through.update_parameters(network)
    stopped.restore(through.module.state_dict(), updates=1)
    with torch.no_grad():
        network.weight += 1
    for ema in (through, stopped):
        ema.update_parameters(network)
    assert torch.equal(through.module.weight, stopped.module.weight)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_moves_nothing_and_says_what_to_do(poison):
    network = nn.Linear(2, 1)
    before = network.weight.clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    with pytest.raises(FloatingPointError, match="at step 7: breathe out; the last checkpoint is good"):
        guarded_step((network.weight * poison).sum(), network, optimizer, step=7, remedy="breathe out")
    assert torch.equal(network.weight, before)


def test_a_clipped_gradient_has_that_norm():
    network = nn.Linear(2, 1, bias=False)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    before = network.weight.detach().clone()
    guarded_step((1000 * network.weight).sum(), network, optimizer, step=0, remedy="", grad_clip=0.5)
    assert (network.weight - before).norm().item() == pytest.approx(0.5, rel=1e-4)


def test_a_group_learns_at_its_own_factor():
    first, second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [first], "factor": 0.1}, {"params": [second]}], lr=1.0)
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.5])
