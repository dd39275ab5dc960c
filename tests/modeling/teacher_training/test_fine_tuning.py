"""The recipe that starts from a face recogniser: its rates, its resume, and that every layer learns."""

import dataclasses
import io

import numpy as np
import pytest
import torch

from modeling.teacher_training.fine_tuning import FineTuning, layerwise_adamw
from modeling.teacher_training.networks import TRAINABLE
from modeling.teacher_training.recipes import NETWORKS, pretrained
from modeling.teacher_training.trainer import TeacherTrainer
from modeling.teachers.load import load_teacher
from modeling.teachers.mobilenet import MobileNetTeacher, save_body
from tests.support.golden_curves import some_faces

RECIPE = dataclasses.replace(pretrained(), epochs=2, batch_size=8, fine_tuning=FineTuning(side_px=32, settling_faces=8))


def test_a_resumed_training_equals_an_uninterrupted_one():
    through = TeacherTrainer(RECIPE, some_faces(16), some_faces(4))
    through.run_epoch()
    file = io.BytesIO()
    torch.save(through.state(), file)
    through.run_epoch()
    resumed = TeacherTrainer(RECIPE, some_faces(16), some_faces(4))
    resumed.load_state(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
    resumed.run_epoch()
    for ours, theirs in zip(resumed.trained.state_dict().values(), through.trained.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)


def test_every_convolution_learns_from_the_weights_it_is_given():
    torch.manual_seed(3)
    body = MobileNetTeacher()
    trainer = TeacherTrainer(RECIPE, some_faces(16), some_faces(4), init=save_body(body, {}))
    kernels = [unit.conv.weight for unit in trainer.network.conv_units]
    given = [unit.conv.weight for unit in body.conv_units]
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(kernels, given, strict=True))
    trainer.run_epoch()
    assert not any(torch.equal(ours, theirs) for ours, theirs in zip(kernels, given, strict=True))


def test_two_layers_further_down_the_rate_is_a_fifth_lower():
    network = MobileNetTeacher()
    groups = layerwise_adamw(network, FineTuning(block_decay=0.8), peak_lr=1e-3, weight_decay=0.02).param_groups
    factor_of = {id(p): group["factor"] for group in groups for p in group["params"]}
    assert len(factor_of) == len(list(network.parameters()))
    assert factor_of[id(network.classifier.weight)] == 1
    last, first = network.conv_units[-2:], network.conv_units[0]
    assert [factor_of[id(unit.conv.weight)] for unit in last] == [0.8, 0.8]
    assert factor_of[id(first.conv.weight)] == pytest.approx(0.8**14)


def test_biases_and_batch_norms_are_not_drawn_to_zero():
    network = MobileNetTeacher()
    groups = layerwise_adamw(network, FineTuning(), peak_lr=1e-3, weight_decay=0.02).param_groups
    for group in groups:
        assert {p.ndim > 1 for p in group["params"]} == {group["weight_decay"] > 0}


def test_the_rate_warms_up_and_falls_along_a_cosine_to_nothing():
    recipe = dataclasses.replace(pretrained(), epochs=10, warmup_epochs=1)
    rates = np.array([recipe.learning_rate(step, 100) for step in range(1000)])
    assert rates[0] == pytest.approx(recipe.peak_lr / 100) and rates.argmax() == 99 and rates.max() == recipe.peak_lr
    assert rates[550] == pytest.approx(recipe.peak_lr / 2, rel=0.02) and 0 < rates[-1] < 1e-4 * recipe.peak_lr
    assert (np.diff(rates[100:]) < 0).all()


def test_its_file_is_a_teacher_for_crops_of_ferplus_size():
    trainer = TeacherTrainer(RECIPE, some_faces(16), some_faces(4))
    teacher = load_teacher("mine", trainer.file({}))
    assert teacher.faces(some_faces(3).images_NHW).shape == (3, 8) and teacher.crop_rule.side_px == 48


def test_every_network_that_a_recipe_may_name_can_be_trained():
    assert set(TRAINABLE) == set(NETWORKS)


def test_a_teacher_of_another_kind_is_no_start():
    with pytest.raises(ValueError, match="not a MobileNet teacher"):
        TeacherTrainer(RECIPE, some_faces(16), some_faces(4), init=b"x")
