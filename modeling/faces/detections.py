"""The faces of a frame. Shape letters: N faces; _N4: box sides; _N52: five landmarks."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Faces:
    """The faces of one frame, the most confident first; empty arrays where there is none.

    boxes_N4: float32 x0, y0, x1, y1 in pixels of the given frame, clipped to it. scores_N: float32, threshold to 1.
    landmarks_N52: float32 x, y of the eyes (left in the picture first), nose and corners of the mouth; not clipped.
    """

    boxes_N4: np.ndarray
    scores_N: np.ndarray
    landmarks_N52: np.ndarray

    def __post_init__(self):
        n = len(self.scores_N)
        assert self.boxes_N4.shape == (n, 4) and self.landmarks_N52.shape == (n, 5, 2)

    def __len__(self) -> int:
        return len(self.scores_N)

    @classmethod
    def given(cls, boxes_N4: np.ndarray) -> "Faces":
        """Boxes known from elsewhere: score 1, landmarks NaN."""
        n = len(boxes_N4)
        return cls(boxes_N4.astype(np.float32), np.ones(n, np.float32), np.full((n, 5, 2), np.nan, np.float32))
