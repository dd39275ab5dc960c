"""Each shipped recipe gives the ten losses that it gave when its file in tests/golden/ was written.

`tests/support/golden_curves.py` says what is run, and how the files are written again.
"""

import pytest

from tests.support.golden_curves import GOLDEN, LINES, as_json, curve, read, recipes

SLOW = ("teacher-paper", "teacher-paper-resnet50")
CHAOTIC = 0.1
"""For the second line of these large networks, of which a batch of two faces is trained from random weights: another number of
threads changed it by 2 %, and the third line by 17 %."""

FIRST, LATER = 1e-3, 3e-2
"""Largest relative difference; LATER is for what comes behind the third line of a teacher, whose rate is so high that
rounding grows. With AVX2, and with SSE4.1 in one thread, students differed from AVX-512 by up to 4e-4, teachers by 2e-5 in
the first three lines and by 9e-3 behind them."""


def test_every_recipe_has_a_curve_and_every_curve_a_recipe():
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(recipes())


@pytest.mark.parametrize("name", recipes())
def test_no_default_of_a_recipe_has_changed(name):
    recorded, losses = read(name)
    assert as_json(recipes()[name]) == recorded
    assert len(losses) == LINES


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in recipes()]
)
def test_a_recipe_gives_its_golden_losses(name):
    losses, expected = curve(name), read(name)[1]
    if name in SLOW:
        assert losses[:1] == pytest.approx(expected[:1], rel=FIRST)
        assert losses[1:2] == pytest.approx(expected[1:2], rel=CHAOTIC)
        return
    exact = 3 if name.startswith("teacher") else LINES
    assert losses[:exact] == pytest.approx(expected[:exact], rel=FIRST)
    assert losses[exact:] == pytest.approx(expected[exact:], rel=LATER)
