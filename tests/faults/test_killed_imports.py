"""Contract: an import may be killed at any moment, again and again. Given again, the same command goes on; at the end every entry
and every wav is there exactly once, and the table is that of an undisturbed import."""

import random

import pytest

from tests.support.labelling_commands import importing, parts, rows_without_times
from tests.support.voxceleb_wavs import TRAPS, published

pytestmark = pytest.mark.slow

WAVS = 120


def test_killed_three_times_at_random_moments(tmp_path):
    given = published(tmp_path, WAVS, traps=True)
    with importing(given.mat, given.speech, tmp_path / "whole") as run:
        undisturbed = run.result()
    assert undisturbed["reasons"].keys() == set(TRAPS.values()) and undisturbed["labelled"] > WAVS
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # shown by pytest when it fails
    out, chance = tmp_path / "labels", random.Random(seed)
    finished: dict = {}
    for _ in range(3):
        with importing(given.mat, given.speech, out) as run:
            run.until_parts(len(finished) + chance.randint(1, 3))
            run.kill()
        now = parts(out)
        print(f"killed with {len(now)} parts")
        assert finished.items() <= now.items()
        finished = now
    with importing(given.mat, given.speech, out) as run:
        answer = run.result()
    assert finished.items() <= parts(out).items()
    counted = ("rows", "labelled", "rejected", "reasons")
    assert {name: answer[name] for name in counted} == {name: undisturbed[name] for name in counted}
    assert rows_without_times(out).equals(rows_without_times(tmp_path / "whole"))
