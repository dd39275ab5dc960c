"""Follows faces through an utterance, by linking boxes that overlap between shot cuts, and chooses one track.

Shape letters: K sampled frames, N faces, 4 box sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from modeling.faces.detections import Faces

MIN_OVERLAP = 0.1
"""Minimum intersection over union of a face with itself in the next sampled frame.

Sampled frames are 0.24 s apart. Over 723 such pairs from the single-speaker test clips, the median overlap was 0.93 and the
minimum 0.15 (a quick turn of the head); between two people in one frame it was at most 0.003. SORT's 0.3, made for
consecutive frames of street scenes, would break 3 of those pairs and lose the rest of their tracks.
"""

MAX_MISSED_FRAMES = 2
"""A face may be missed in this many sampled frames in a row (half a second) and still continue its track."""

THINNED_SIDE_PX = 128
"""Short side of the pictures for the colour histograms; 192 finds the same cuts in 53 clips but takes twice as long."""

CUT_DISTANCE = 0.25
"""Above this Bhattacharyya distance of their colour histograms, there is a shot cut between two sampled frames.

Within the 42 test clips, the distance was at most 0.20, and at most 0.14 in all but one. At the joins of 1,560 ordered
pairs of them it was 0.29 in the 1st and 0.42 in the 5th percentile; joins below are mostly two people in the same studio
before the same wall. The mean absolute difference of small pictures does not separate the two (31 for a moving head, 16 in
the 1st percentile of joins).
"""

RIVAL_SHARE = 0.5
"""A choice is ambiguous if the runner-up has at least this share of the winner's prominence."""


@dataclass(frozen=True)
class FaceTrack:
    """One face through time: frame_indices int32 (n,) rising, boxes_N4 float32 in pixels, scores float32 (n,)."""

    frame_indices: np.ndarray
    boxes_N4: np.ndarray
    scores: np.ndarray

    def __post_init__(self):
        n = len(self.frame_indices)
        assert n > 0 and self.boxes_N4.shape == (n, 4) and self.scores.shape == (n,)
        assert (np.diff(self.frame_indices) > 0).all()


def shot_cuts(images: Sequence[np.ndarray]) -> np.ndarray:
    """bool (K,): whether a shot cut lies just before each image (H x W x 3 uint8 RGB); never before the first."""
    histograms = [_colour_histogram(image) for image in images]
    cuts = [cv2.compareHist(a, b, cv2.HISTCMP_BHATTACHARYYA) > CUT_DISTANCE for a, b in pairwise(histograms)]
    return np.array([False, *cuts], bool)[: len(images)]


def _colour_histogram(image: np.ndarray) -> np.ndarray:
    """8 x 8 x 8 bins of R, G, B over the picture, thinned to a short side of 128 pixels and averaged down to 64 x 64.

    Thinning takes a sixth of the time of picking every n-th pixel with numpy, which is 40 % faster than averaging every
    pixel. All three find the same cuts in 53 clips (docs/log.md).
    """
    height, width = image.shape[:2]
    scale = min(1.0, THINNED_SIDE_PX / min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    thinned = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(thinned, (64, 64), interpolation=cv2.INTER_AREA)
    return cv2.calcHist([small], [0, 1, 2], None, [8, 8, 8], [0, 256] * 3)


def link_faces(faces: Sequence[Faces], frame_indices: np.ndarray, cuts: np.ndarray) -> list[FaceTrack]:
    """Puts every face of every frame into exactly one track; tracks are ordered by their beginnings.

    faces: of each sampled frame; frame_indices int (K,): positions on the sampling grid, rising; cuts bool (K,): from
    `shot_cuts`. The faces of a frame are assigned to recent tracks so that the sum of overlaps is largest (SORT's
    assignment, without its motion model). A track never crosses a cut and has at most one box per frame.
    """
    tracks: list[list[tuple[int, np.ndarray, float]]] = []
    live: list[int] = []
    for found, index, cut in zip(faces, np.asarray(frame_indices).tolist(), cuts, strict=True):
        live = [] if cut else [t for t in live if index - tracks[t][-1][0] <= MAX_MISSED_FRAMES + 1]
        last_boxes = np.array([tracks[t][-1][1] for t in live], np.float32).reshape(-1, 4)
        track_of_face = {face: live[row] for row, face in _assigned(overlaps(last_boxes, found.boxes_N4))}
        for face in range(len(found)):
            if face not in track_of_face:
                track_of_face[face] = len(tracks)
                live.append(len(tracks))
                tracks.append([])
            tracks[track_of_face[face]].append((index, found.boxes_N4[face], found.scores_N[face]))
    return [_as_track(steps) for steps in tracks]


def _assigned(overlaps_MN: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (track, face) with the largest total overlap; pairs below MIN_OVERLAP count as zero and are left out."""
    usable = np.where(overlaps_MN >= MIN_OVERLAP, overlaps_MN, 0)
    pairs = zip(*linear_sum_assignment(usable, maximize=True), strict=True)
    return [(track, face) for track, face in pairs if usable[track, face] > 0]


def _as_track(steps: list[tuple[int, np.ndarray, float]]) -> FaceTrack:
    indices, boxes, scores = zip(*steps, strict=True)
    return FaceTrack(np.array(indices, np.int32), np.stack(boxes).astype(np.float32), np.array(scores, np.float32))


def overlaps(boxes_M4: np.ndarray, boxes_N4: np.ndarray) -> np.ndarray:
    """Intersection over union (M, N) of two sets of boxes; 0 for two empty boxes."""
    low = np.maximum(boxes_M4[:, None, :2], boxes_N4[None, :, :2])
    high = np.minimum(boxes_M4[:, None, 2:], boxes_N4[None, :, 2:])
    shared = (high - low).clip(0).prod(axis=2)
    union = _areas(boxes_M4)[:, None] + _areas(boxes_N4)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _areas(boxes_N4: np.ndarray) -> np.ndarray:
    return (boxes_N4[:, 2:] - boxes_N4[:, :2]).clip(0).prod(axis=1)


def prominence(track: FaceTrack, frames_sampled: int) -> float:
    """Mean box area in square pixels times the share of the sampled frames in which the face was found."""
    return float(_areas(track.boxes_N4).mean() * len(track.boxes_N4) / frames_sampled)


def choose_track(tracks: Sequence[FaceTrack], frames_sampled: int) -> tuple[int, bool]:
    """Index of the most prominent track (the first in a tie), and whether the choice is ambiguous. Needs at least one track.

    The largest `prominence` wins, whatever the emotion. The choice is ambiguous if another track has at least `RIVAL_SHARE`
    of it: a second face as near to the camera, or two people who share the time on screen.
    """
    scores = np.array([prominence(track, frames_sampled) for track in tracks])
    chosen = int(scores.argmax())
    return chosen, bool((np.delete(scores, chosen) >= RIVAL_SHARE * scores[chosen]).any())
