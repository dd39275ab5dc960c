"""Boxes of pictures whose size changes within an utterance (a call whose line got worse, a phone that was turned).

Faces are followed on one canvas, in the pixels of the first picture; they are cut out of each picture in its own.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from modeling.faces.detections import Faces
from pipeline.labelling.sparse_detection import Detect


class Canvas:
    """images: H x W x 3; where all are of one size, the canvas is every picture itself."""

    def __init__(self, images: Sequence[np.ndarray]):
        self.size_4 = _size_4(images[0])

    def placed(self, faces: Faces, image: np.ndarray) -> Faces:
        """Faces in a picture's pixels, on the canvas. (Nobody follows landmarks.)"""
        if self._is_plain(image):
            return faces
        return replace(faces, boxes_N4=faces.boxes_N4 * (self.size_4 / _size_4(image)), landmarks_N52=None)

    def detecting(self, detect: Detect) -> Detect:
        """The detector, with the faces of each picture on the canvas."""

        def found(images: Sequence[np.ndarray]) -> list[Faces]:
            return [self.placed(faces, image) for faces, image in zip(detect(images), images, strict=True)]

        return found

    def cut_from(self, image: np.ndarray, box_4: np.ndarray) -> np.ndarray:
        """A box of the canvas in the pixels of a picture."""
        return box_4 if self._is_plain(image) else box_4 * (_size_4(image) / self.size_4)

    def relative(self, boxes_N4: np.ndarray) -> np.ndarray:
        """Boxes of the canvas relative (0 to 1) to width and height of the picture that they lie in."""
        return boxes_N4 * (1 / self.size_4)

    def _is_plain(self, image: np.ndarray) -> bool:
        return bool((_size_4(image) == self.size_4).all())


def _size_4(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    return np.array([width, height, width, height], np.float32)
