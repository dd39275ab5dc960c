"""Following faces between looks: nothing that moves, comes, goes or is cut away may be missed."""

import numpy as np
import pytest

from modeling.faces.detections import Faces
from pipeline.labelling.face_tracks import overlaps
from pipeline.labelling.sparse_detection import find_faces

NO_CUTS = np.zeros(25, bool)


class Scene:
    """A detector that knows the truth: boxes of each frame, whose picture holds its own number."""

    def __init__(self, boxes_of_frame: list[list[list[float]]]):
        self.truth = [np.array(boxes, np.float32).reshape(-1, 4) for boxes in boxes_of_frame]
        self.images = [np.full((2, 2, 3), index, np.uint8) for index in range(len(self.truth))]
        self.looked: list[int] = []

    def __call__(self, images) -> list[Faces]:
        indices = [int(image[0, 0, 0]) for image in images]
        self.looked += indices
        return [Faces.given(self.truth[index]) for index in indices]


def box(x: float, y: float = 100, side: float = 100) -> list[float]:
    return [x, y, x + side, y + side]


def test_a_slow_head_is_looked_at_once_a_second_and_followed_closely():
    scene = Scene([[box(100 + 2 * k)] for k in range(25)])
    found = find_faces(scene.images, NO_CUTS, scene)
    assert len(scene.looked) <= 8
    least = min(overlaps(faces.boxes_N4, truth)[0, 0] for faces, truth in zip(found, scene.truth, strict=True))
    assert least > 0.97


def test_a_quick_head_is_looked_at_in_every_frame():
    scene = Scene([[box(100 + 40 * k)] for k in range(25)])
    found = find_faces(scene.images, NO_CUTS, scene)
    assert sorted(scene.looked) == list(range(25))
    assert all(np.array_equal(faces.boxes_N4, truth) for faces, truth in zip(found, scene.truth, strict=True))


@pytest.mark.parametrize("came", [5, 6, 7, 13, 24])
def test_a_face_that_comes_is_found_in_the_frame_in_which_it_comes(came):
    scene = Scene([[box(100)] + ([box(300)] if k >= came else []) for k in range(25)])
    counts = [len(faces) for faces in find_faces(scene.images, NO_CUTS, scene)]
    assert counts == [1] * came + [2] * (25 - came)


def test_a_short_face_in_an_empty_scene_is_found():
    scene = Scene([[box(100)] if k in (5, 6) else [] for k in range(25)])
    assert [len(faces) for faces in find_faces(scene.images, NO_CUTS, scene)].count(1) == 2


def test_no_face_is_followed_across_a_cut():
    cuts = NO_CUTS.copy()
    cuts[[6, 7]] = True  # a single frame of another scene, with nobody in it
    scene = Scene([[] if k == 6 else [box(100)] for k in range(25)])
    assert [len(faces) for faces in find_faces(scene.images, cuts, scene)] == [1] * 6 + [0] + [1] * 18


def test_two_faces_keep_their_places_when_the_detector_names_them_in_another_order():
    left, right = box(100), box(400)
    scene = Scene([[left, right] if k % 8 < 4 else [right, left] for k in range(25)])
    found = find_faces(scene.images, NO_CUTS, scene)
    assert all((overlaps(faces.boxes_N4, np.array([left, right])).max(axis=0) > 0.99).all() for faces in found)


@pytest.mark.parametrize("frames", [0, 1, 2, 3])
def test_short_utterances(frames):
    scene = Scene([[box(100)]] * frames)
    assert len(find_faces(scene.images, NO_CUTS[:frames], scene)) == frames
