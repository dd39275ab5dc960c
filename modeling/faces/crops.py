"""From a face box to the square picture a teacher sees.

Shape letters: N faces, 4 box sides (x0, y0, x1, y1 in pixels), H = W = side_px.
"""

import cv2
import numpy as np

CROP_SCALE = 0.8
"""Side of a FER+-like crop as part of the longer side (in practice the height) of a RetinaFace box; same centre.

Measured with 236 frames of 12 video clips whose acted emotion is known, mean over the clips: the packaged teacher is right
on 0.6 36 %, 0.7 37 %, 0.75 38 %, 0.8 38 %, 0.85 36 %, 0.9 37 %, 1.0 36 %, 1.3 26 % of frames; its log loss is 1.69 at 0.7,
1.64 at 0.8, 1.62 at 0.85, 1.75 at 1.0. Another 8-class FER+ network, trained elsewhere, is most often right and has its least log
loss at 0.7 (42 %; 33 % at 1.0). By the landmarks of 300 FER+ faces alone the scale would be 0.90 (distance
between the eyes) to 0.97 (eyes to mouth): accuracy decides. A shift down by 0.05 of the height changes nothing.
Tightness is a property of a network, so a teacher brings its own scale.
"""


def square_crops(
    image: np.ndarray, boxes_N4: np.ndarray, scale: float, side_px: int, grey: bool, rough: bool = False
) -> np.ndarray:
    """Squares of `scale` times the longer side of each box, centred on it, resized to side_px.

    image: H x W x 3 uint8 RGB -> uint8 (N, side_px, side_px), ITU-R 601 luma as MATLAB's rgb2gray, or
    (N, side_px, side_px, 3) RGB. Enlarged crops turn grey last, as in the authors' fetch_emovoxceleb_imdb.m, whose faces
    are all enlarged; shrunk ones first, in half the time and at most a grey level apart.
    Beyond the frame its border pixels are repeated. Shrinking averages areas, enlarging interpolates linearly. Square
    edges are rounded to whole pixels. rough: a square of more than twice side_px is first thinned to that, which takes a
    third of the time; to look at.
    """
    crops = np.empty((len(boxes_N4), side_px, side_px, *(() if grey else (3,))), np.uint8)
    for row, (x0, y0, x1, y1) in enumerate(np.asarray(boxes_N4, np.float64)):
        side = max(1, round(scale * max(x1 - x0, y1 - y0)))
        shrinks = side > side_px
        square = _square(image, round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2), side, grey=grey and shrinks)
        if rough and side > 2 * side_px:
            square = cv2.resize(square, (2 * side_px, 2 * side_px), interpolation=cv2.INTER_NEAREST)
        resized = cv2.resize(square, (side_px, side_px), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        crops[row] = cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY) if grey and not shrinks else resized
    return crops


def _square(image: np.ndarray, left: int, top: int, side: int, grey: bool) -> np.ndarray:
    """side x side pixels from (left, top); the nearest border pixel stands for what lies beyond the frame."""
    height, width = image.shape[:2]
    inside = image[_overlap(top, side, height), _overlap(left, side, width)]
    inside = cv2.cvtColor(inside, cv2.COLOR_RGB2GRAY) if grey else inside
    rows, columns = inside.shape[:2]
    if rows == columns == side:
        return inside
    above, before = min(max(0, -top), side - rows), min(max(0, -left), side - columns)
    return cv2.copyMakeBorder(inside, above, side - rows - above, before, side - columns - before, cv2.BORDER_REPLICATE)


def _overlap(start: int, side: int, size: int) -> slice:
    """The part of [start, start + side) that lies in [0, size), at least the one pixel nearest to it."""
    low = min(max(0, start), size - 1)
    return slice(low, max(low + 1, min(size, start + side)))


def centre_crop_fraction(image: np.ndarray, context: float) -> np.ndarray:
    """The face's box, float32 (1, 4), in a picture that shows one face with `context` times its box around it.

    VoxCeleb's face pictures have context 1.6 (MatConvNet's CropSize 1/1.6 at the centre in fetch_emovoxceleb_imdb.m).
    Raises ValueError for a context below 1.
    """
    if not context >= 1:
        raise ValueError(f"face context {context} is below 1; 1 means the picture is the face box, 1.6 is VoxCeleb's")
    height, width = image.shape[:2]
    margin_x, margin_y = width * (1 - 1 / context) / 2, height * (1 - 1 / context) / 2
    return np.array([[margin_x, margin_y, width - margin_x, height - margin_y]], np.float32)
