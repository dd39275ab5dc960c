"""Files of the published networks: every form they come in, and what a wrong one says."""

import math
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from modeling.teachers.published import (
    FerPlusNetwork,
    initialised_from,
    load_published,
)
from tests.support.published_states import NAMES, file_of, published_shapes, state_named


def with_counters(state):
    counters = {name.replace("running_var", "num_batches_tracked"): torch.tensor(5) for name in state if "var" in name}
    return OrderedDict(state) | counters


def with_linear_classifier(state):
    return state | {"classifier.weight": state["classifier.weight"].reshape(8, 2048)}


FORMS = {
    "linear classifier": lambda state: file_of(with_linear_classifier(state)),
    "counters": lambda state: file_of(with_counters(state)),
    "data parallel": lambda state: file_of({f"module.{name}": tensor for name, tensor in with_counters(state).items()}),
    "wrapped": lambda state: file_of({"state_dict": state, "epoch": 90}),
    "before 2020": lambda state: file_of(state, _use_new_zipfile_serialization=False),
    "parameters": lambda state: file_of({name: nn.Parameter(tensor) for name, tensor in state.items()}),
}


@pytest.mark.parametrize(("name", "form"), [*((NAMES[0], form) for form in FORMS), (NAMES[1], "linear classifier")])
def test_every_form_of_a_file_gives_the_same_weights(name, form):
    found, network = load_published(FORMS[form](state_named(name)), name)
    loaded = network.state_dict()
    assert found == name and list(loaded) == list(state_named(name))
    assert all(torch.equal(tensor, loaded[key]) for key, tensor in state_named(name).items())
    assert all(p.requires_grad for p in network.parameters())


def test_a_network_of_ours_is_saved_in_the_published_form():
    network = FerPlusNetwork(gated=False, dropout=0.5)
    network.train()(torch.randn(2, 3, 224, 224))  # moves the running statistics
    saved = network.state_dict()
    found, loaded = load_published(file_of(saved))
    assert found == "resnet50_ferplus" and set(saved) == set(published_shapes(gated=False))
    assert saved["conv1_7x7_s2_bn.running_mean"].abs().max() > 0
    assert all(torch.equal(saved[name], tensor) for name, tensor in loaded.state_dict().items())


def changed(name="senet50_ferplus", **tensors):
    return file_of(state_named(name) | {key.replace("__", "."): tensor for key, tensor in tensors.items()})


def without(key):
    return file_of({name: tensor for name, tensor in state_named("senet50_ferplus").items() if name != key})


class Payload:
    def __reduce__(self):
        return (open, ("payload.txt", "w"))


REFUSED = {
    "a missing tensor": (lambda: without("conv4_2_3x3.weight"), r"senet50_ferplus.*1 missing \(conv4_2_3x3.weight\)"),
    "an additional one": (lambda: changed(extra=torch.ones(1)), r"1 unexpected \(extra\)"),
    "another shape": (
        lambda: changed(conv5_1_3x3__weight=torch.ones(512, 512, 1, 1)),
        r"conv5_1_3x3.weight \(512, 512, 1, 1\) instead of \(512, 512, 3, 3\)",
    ),
    "another classifier": (
        lambda: changed(classifier__weight=torch.ones(1).expand(8631, 2048), classifier__bias=torch.ones(8631)),
        r"classifier.weight \(8631, 2048, 1, 1\) instead of \(8, 2048, 1, 1\)",
    ),
    "NaN": (lambda: changed(conv2_1_3x3_bn__bias=torch.full((64,), math.nan)), r"NaN.*conv2_1_3x3_bn.bias"),
    "infinity": (lambda: changed(classifier__bias=torch.full((8,), math.inf)), r"infinity.*classifier.bias"),
    "torchvision's ResNet": (
        lambda: file_of(torchvision.models.resnet50().state_dict()),
        r"senet50_ferplus or resnet50_ferplus.*267 missing \(conv1_7x7_s2.weight.* unexpected \(conv1.weight, bn1",
    ),
    "nothing": (lambda: b"", "no PyTorch checkpoint"),
    "random bytes": (lambda: np.random.default_rng(0).bytes(5000), "no PyTorch checkpoint"),
    "a cut file": (lambda: file_of({"a": torch.ones(5000)})[:9000], "no PyTorch checkpoint"),
    "a web page": (lambda: b"<html>404 not found</html>", "no PyTorch checkpoint"),
    "a plain pickle": (lambda: pickle.dumps({"a": 1}, protocol=2), "no PyTorch checkpoint|no state dict"),
    "a pickled network": (lambda: file_of(nn.Linear(2, 2)), "no PyTorch checkpoint, or holds more than tensors"),
    "a tensor": (lambda: file_of(torch.ones(3)), "no state dict but a Tensor"),
    "a training state": (lambda: file_of({"model": {}, "epoch": 3}), r"no state dict but keys \['model', 'epoch'\]"),
    "an empty dict": (lambda: file_of({}), "no state dict"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_does_not_fit_is_refused_by_name(case):
    make, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        load_published(make())


@pytest.mark.parametrize("save", [file_of, pickle.dumps, lambda state: file_of({"state_dict": state})])
def test_code_inside_a_file_is_not_run(save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="holds more than tensors"):
        load_published(save({"conv1_7x7_s2.weight": Payload()}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "other"), [NAMES, NAMES[::-1]])
def test_a_file_of_the_other_network_is_refused(name, other):
    with pytest.raises(ValueError, match=f"holds {other}, not {name}"):
        load_published(file_of(state_named(other)), name)


# --- fine-tuning


@pytest.mark.parametrize("form", [torch.ones(1).expand(8631, 2048, 1, 1), torch.ones(10, 2048)])
def test_fine_tuning_keeps_the_body_and_draws_the_same_small_classifier_for_the_same_seed(form):
    state = state_named("senet50_ferplus") | {"classifier.weight": form, "classifier.bias": torch.ones(len(form))}
    first, again, other = (initialised_from(file_of(state), True, seed, 0.5) for seed in (0, 0, 1))
    body = {name: tensor for name, tensor in first.state_dict().items() if not name.startswith("classifier.")}
    assert len(body) == 329 and all(torch.equal(tensor, state[name]) for name, tensor in body.items())
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert first.classifier.weight.std().item() == pytest.approx(0.01, rel=0.03)
    assert first.classifier.bias.tolist() == [0.0] * 8


def test_fine_tuning_refuses_another_body():
    with pytest.raises(ValueError, match="not the weights of a resnet50.*unexpected .*1x1_down"):
        initialised_from(file_of(state_named("senet50_ferplus")), False, 0, 0.5)
