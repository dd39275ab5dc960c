"""Shared fixtures. Real data is used where it is present (EMOVOX_TEST_DATA, or the folder beside the checkout in CI).

A test that needs real data (`data_dir`) or a GPU (`@pytest.mark.gpu`) is skipped where there is none; with
EMOVOX_REQUIRE_DATA=1 or EMOVOX_REQUIRE_GPU=1 it fails instead.
"""

import os
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # several processes share the cores: before torch is imported
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

import pytest

from tests.support.random_state import random_state_restored
from tests.support.requirements import require_data, require_gpu


@pytest.fixture(autouse=True)
def random_state_of_its_own():
    """What a test seeds or draws changes no other test."""
    with random_state_restored():
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        require_gpu()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with FER+ faces, talking-face videos, speech and detector weights."""
    return require_data()


@pytest.fixture(scope="session")
def ray_session():
    """One embedded Ray for all tests that need it; starting one costs several seconds."""
    from cluster.session import session

    with session(None):
        yield
