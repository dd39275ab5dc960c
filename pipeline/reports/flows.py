"""A diagram of flows: the same utterances by one set's emotion on the left, by the other's on the right, ribbons between.

Its values are SVG numbers; the template draws them. Shape letters: E = 8 emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

WIDTH, HEIGHT = 900, 430
LEFT, RIGHT, BAR = 130, 770, 14
"""Left edge of the left bars, right edge of the right ones, and the width of a bar."""
GAP = 6
"""Between two bars of a side."""
LINE = 17
"""Least distance between the middles of two labels."""


@dataclass(frozen=True)
class Bar:
    """An emotion on one side; label_y is where its text stands, which may be moved away from its neighbours'."""

    emotion: str
    n: int
    share: float
    x: float
    y: float
    height: float
    label_y: float


@dataclass(frozen=True)
class Ribbon:
    """Utterances that go from one emotion to another. path: of an SVG area."""

    from_emotion: str
    to_emotion: str
    n: int
    share: float
    path: str


@dataclass(frozen=True)
class Flows:
    width: int
    height: int
    bar: int
    left: Sequence[Bar]
    right: Sequence[Bar]
    ribbons: Sequence[Ribbon]


def flows(confusion: Sequence[Sequence[int]], names: Sequence[str]) -> Flows:
    """confusion: counts (E, E), a row for the left side. Emotions that a side lacks have no bar there."""
    counts_EE = np.asarray(confusion, np.float64)
    total = counts_EE.sum()
    gaps = max((counts_EE.sum(axis) > 0).sum() for axis in (0, 1)) - 1
    scale = (HEIGHT - GAP * gaps - LINE) / total
    tops_left_E, tops_right_E = (_tops(counts_EE.sum(axis) * scale) for axis in (1, 0))
    left = _bars(names, counts_EE.sum(1), tops_left_E, scale, LEFT)
    right = _bars(names, counts_EE.sum(0), tops_right_E, scale, RIGHT - BAR)
    starts_EE = tops_left_E[:, None] + scale * (np.cumsum(counts_EE, axis=1) - counts_EE)
    ends_EE = tops_right_E[None, :] + scale * (np.cumsum(counts_EE, axis=0) - counts_EE)
    ribbons = [
        Ribbon(
            names[i],
            names[j],
            int(counts_EE[i, j]),
            float(counts_EE[i, j] / total),
            _area(starts_EE[i, j], ends_EE[i, j], scale * counts_EE[i, j]),
        )
        for i, j in np.argwhere(counts_EE).tolist()
    ]
    return Flows(WIDTH, HEIGHT, BAR, left, right, ribbons)


def _tops(heights_E: np.ndarray) -> np.ndarray:
    taken_E = heights_E + GAP * (heights_E > 0)
    return LINE / 2 + np.cumsum(taken_E) - taken_E


def _bars(names: Sequence[str], counts_E: np.ndarray, tops_E: np.ndarray, scale: float, x: float) -> list[Bar]:
    there = np.flatnonzero(counts_E)
    middles = _apart([float(tops_E[k] + scale * counts_E[k] / 2) for k in there])
    return [
        Bar(
            names[k],
            int(counts_E[k]),
            float(counts_E[k] / counts_E.sum()),
            x,
            round(float(tops_E[k]), 2),
            round(float(scale * counts_E[k]), 2),
            round(middle, 2),
        )
        for k, middle in zip(there.tolist(), middles, strict=True)
    ]


def _apart(middles: list[float]) -> list[float]:
    """At least LINE from one to the next, within the picture: pushed down, and up again from its lower end."""
    for k in range(1, len(middles)):
        middles[k] = max(middles[k], middles[k - 1] + LINE)
    lowest = HEIGHT - LINE / 2
    for k in reversed(range(len(middles))):
        middles[k] = min(middles[k], lowest)
        lowest = middles[k] - LINE
    return middles


def _area(start: float, end: float, height: float) -> str:
    a, b = LEFT + BAR, RIGHT - BAR
    middle = (a + b) / 2
    top = f"M{a} {start:.2f}C{middle:g} {start:.2f} {middle:g} {end:.2f} {b} {end:.2f}"
    return f"{top}V{end + height:.2f}C{middle:g} {end + height:.2f} {middle:g} {start + height:.2f} {a} {start + height:.2f}Z"
