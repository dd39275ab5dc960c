"""Faces of an utterance whose picture changes its size."""

import numpy as np

from modeling.faces.detections import Faces
from pipeline.labelling.canvas import Canvas

LARGE, SMALL, TURNED = np.zeros((300, 400, 3)), np.zeros((150, 200, 3)), np.zeros((400, 300, 3))


def test_a_face_has_the_same_place_on_the_canvas_in_every_size():
    canvas = Canvas([LARGE, SMALL])
    large = canvas.placed(Faces.given(np.array([[40, 30, 120, 90]])), LARGE)
    small = canvas.placed(Faces.given(np.array([[20, 15, 60, 45]])), SMALL)
    assert np.allclose(large.boxes_N4, small.boxes_N4)
    assert np.allclose(canvas.relative(small.boxes_N4), [[0.1, 0.1, 0.3, 0.3]])


def test_a_box_is_cut_out_of_the_picture_that_it_was_found_in():
    canvas = Canvas([LARGE, SMALL, TURNED])
    for image in (LARGE, SMALL, TURNED):
        found = np.array([[30.0, 20.0, 90.0, 80.0]], np.float32)
        placed = canvas.placed(Faces.given(found), image)
        assert np.allclose(canvas.cut_from(image, placed.boxes_N4[0]), found[0])
