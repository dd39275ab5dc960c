"""Shared fixtures. Real data is used where it is present (EMOVOX_TEST_DATA, or the folder beside the checkout in CI)."""

import os
from pathlib import Path

import pytest

DATA_DIR = Path(os.environ.get("EMOVOX_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with FER+ faces, talking-face videos, speech and detector weights; tests that need it skip without it."""
    if not (DATA_DIR / "video" / "manifest.csv").exists():
        pytest.skip("no test data: set EMOVOX_TEST_DATA to a folder with ferplus/, video/, speech/ and weights/")
    return DATA_DIR


@pytest.fixture(scope="session")
def ray_session():
    """One embedded Ray for all tests that need it; starting one costs several seconds."""
    from cluster.session import session

    with session(None):
        yield
