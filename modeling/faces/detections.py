"""The faces of a frame. Shape letters: N faces; _N4: box sides; _N52: five landmarks."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Faces:
    """The faces of one frame, most confident first; empty arrays if there are none.

    boxes_N4: float32 x0, y0, x1, y1 in pixels of the frame, clipped to it. scores_N: float32, from the threshold to 1.
    landmarks_N52: float32 x, y of the eyes (the left one in the picture first), nose and corners of the mouth, not clipped;
    None if no detector has seen the frame.
    """

    boxes_N4: np.ndarray
    scores_N: np.ndarray
    landmarks_N52: np.ndarray | None = None

    def __post_init__(self):
        n = len(self.scores_N)
        assert self.boxes_N4.shape == (n, 4) and (self.landmarks_N52 is None or self.landmarks_N52.shape == (n, 5, 2))

    def __len__(self) -> int:
        return len(self.scores_N)

    @classmethod
    def given(cls, boxes_N4: np.ndarray) -> "Faces":
        """Faces at known boxes: score 1, no landmarks."""
        return cls(boxes_N4.astype(np.float32), np.ones(len(boxes_N4), np.float32))
