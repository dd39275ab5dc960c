"""Each shipped recipe gives the ten losses that it gave when its file in tests/golden/ was written.

`tests/support/golden_curves.py` says what is run, and how the files are written again.
"""

import pytest

from tests.support.golden_curves import GOLDEN, LINES, as_json, curve, read, recipes

SLOW = ("teacher-paper", "teacher-paper-resnet50")
RTOL = 1e-3
"""Ten steps with other instruction sets (SSE4.1, AVX2, no oneDNN) and one thread stay within a tenth of it."""


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
    assert curve(name) == pytest.approx(read(name)[1], rel=RTOL)
