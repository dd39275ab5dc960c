import math

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from scipy.stats import entropy

from modeling.distillation.loss import distillation_loss


def test_the_loss_by_hand_for_three_classes():
    # softmax([ln 4, 0, 0] / 2) = [2, 1, 1] / 4; softmax([0, ln 9, 0] / 2) = [1, 3, 1] / 5
    teacher = torch.tensor([[math.log(4), 0, 0]])
    student = torch.tensor([[0, math.log(9), 0]])
    by_hand = -(0.5 * math.log(0.2) + 0.25 * math.log(0.6) + 0.25 * math.log(0.2))
    assert math.isclose(distillation_loss(student, teacher, 2.0).item(), by_hand, rel_tol=1e-6)


def test_the_loss_is_a_mean_over_the_batch_without_the_factor_of_temperature_squared():
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(0, 4, (16, 8)), rng.normal(0, 4, (16, 8))
    for temperature in (1.0, 2.0, 5.0):
        expected = -(softmax(teacher / temperature, 1) * log_softmax(student / temperature, 1)).sum(1).mean()
        ours = distillation_loss(torch.tensor(student), torch.tensor(teacher), temperature).item()
        assert math.isclose(ours, expected, rel_tol=1e-5)


def test_the_gradient_is_half_of_q_minus_p_over_the_batch():
    rng = np.random.default_rng(1)
    student = torch.tensor(rng.normal(0, 3, (4, 8)), dtype=torch.float32, requires_grad=True)
    teacher = rng.normal(0, 3, (4, 8)).astype(np.float32)
    distillation_loss(student, torch.from_numpy(teacher)).backward()
    expected = (
        0.5 * (softmax(student.detach().numpy() / 2, 1) - softmax(teacher / 2, 1)) / 4
    )  # getBatchEmoVoxCeleb.m, emoVoxZoo.m
    np.testing.assert_allclose(student.grad.numpy(), expected, atol=1e-7)


def test_the_least_value_is_the_entropy_of_the_softened_teacher():
    rng = np.random.default_rng(2)
    teacher = torch.tensor(rng.normal(0, 3, (5, 8)), dtype=torch.float32)
    least = distillation_loss(teacher + 7, teacher).item()  # a constant changes nothing
    assert math.isclose(least, entropy(softmax(teacher.numpy() / 2, 1), axis=1).mean(), rel_tol=1e-5)
    for _ in range(20):
        assert distillation_loss(teacher + torch.tensor(rng.normal(0, 1, (5, 8))), teacher).item() > least
