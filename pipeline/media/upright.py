"""A decoded frame as a player shows it: turned and mirrored by its display matrix, its pixels square."""

from fractions import Fraction

import av
import numpy as np

from pipeline.media.limits import MOST_STRETCH

MATRIX_BYTES = 36
"""Nine int32, of which the first two columns turn (libavutil/display.h); what follows them in the buffer is padding."""

PLAIN = np.eye(2, dtype=np.int64)


def upright_rgb(frame: av.VideoFrame, longest_side_px: int | None, pixel_aspect: Fraction) -> np.ndarray:
    """HxWx3 uint8, as `ffmpeg -pix_fmt rgb24` gives it (`-sws_flags area` where it is scaled down)."""
    height, width = scaled_size(*shown_size(frame.height, frame.width, pixel_aspect), longest_side_px)
    # a mean of areas shows no more than the picture holds, and takes a third of bicubic's time, ffmpeg's default
    interpolation = "BICUBIC" if width >= frame.width and height >= frame.height else "AREA"
    image = frame.reformat(width, height, "rgb24", interpolation=interpolation, threads=1).to_ndarray()
    return oriented(image, display_matrix(frame))


def shown_size(height: int, width: int, pixel_aspect: Fraction) -> tuple[int, int]:
    """Height and width with square pixels: the longer way of a pixel is kept, so that nothing of the picture is lost."""
    if pixel_aspect <= 0 or not Fraction(1, MOST_STRETCH) <= pixel_aspect <= MOST_STRETCH:
        return height, width
    if pixel_aspect >= 1:
        return height, round(width * pixel_aspect)
    return round(height / pixel_aspect), width


def scaled_size(height: int, width: int, longest_side_px: int | None) -> tuple[int, int]:
    """Height and width in pixels, in proportion, neither above `longest_side_px`; never larger than they were."""
    scale = 1.0 if longest_side_px is None else min(1.0, longest_side_px / max(width, height))
    return max(1, round(height * scale)), max(1, round(width * scale))


def display_matrix(frame: av.VideoFrame) -> np.ndarray:
    """2x2 int64: where a step to the right (first row) and one down (second row) lead on the screen, as (right, down)."""
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return PLAIN
    return np.frombuffer(bytes(data)[:MATRIX_BYTES], np.int32).astype(np.int64).reshape(3, 3)[:2, :2]


def is_on_its_side(matrix: np.ndarray) -> bool:
    """Whether its rows become columns; a turn by other than quarters counts as the nearest of them."""
    return bool(abs(matrix[0, 1]) + abs(matrix[1, 0]) > abs(matrix[0, 0]) + abs(matrix[1, 1]))


def is_mirrored(matrix: np.ndarray) -> bool:
    """Whether it is more than a turn."""
    return bool(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0] < 0)


def oriented(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The picture as the display matrix wants it."""
    right, down = (matrix[1, 0], matrix[0, 1]) if is_on_its_side(matrix) else (matrix[0, 0], matrix[1, 1])
    if is_on_its_side(matrix):
        image = image.swapaxes(0, 1)
    return image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
