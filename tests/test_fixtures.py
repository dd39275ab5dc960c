"""What every test relies on: random state that others cannot change, and a missing thing that is not passed over in silence."""

import random

import numpy as np
import pytest
import torch

from tests.support import requirements
from tests.support.random_state import random_state_restored
from tests.support.requirements import require_data, require_gpu


def drawn() -> tuple:
    return random.random(), np.random.random(), torch.rand(1).item()


def test_what_a_test_seeds_and_draws_changes_no_other():
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    with random_state_restored():
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        drawn()
    after = drawn()
    random.setstate(states[0]), np.random.set_state(states[1]), torch.set_rng_state(states[2])
    assert drawn() == after


def test_random_state_is_restored_after_a_failure():
    state = torch.get_rng_state()

    def seed_and_fail():
        with random_state_restored():
            torch.manual_seed(1)
            raise ValueError("a test failed")

    with pytest.raises(ValueError, match="a test failed"):
        seed_and_fail()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("kind", ["DATA", "GPU"])
@pytest.mark.parametrize(("value", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_thing_skips_or_fails_as_the_environment_says(monkeypatch, tmp_path, kind, value, outcome):
    monkeypatch.setattr(requirements, "DATA_DIR", tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv(f"EMOVOX_REQUIRE_{kind}", value)
    with pytest.raises(outcome):
        {"DATA": require_data, "GPU": require_gpu}[kind]()


@pytest.mark.gpu
def test_the_gpu_of_a_marked_test_is_there():
    assert torch.cuda.is_available()


def test_the_data_folder_holds_what_tests_ask_for(data_dir):
    assert all((data_dir / name).is_dir() for name in ("ferplus", "video", "speech", "weights"))
