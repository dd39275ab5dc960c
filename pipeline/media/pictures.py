"""Pictures encoded as files, for a row or a page."""

import cv2
import numpy as np

OPENCV_QUALITY = 95
"""OpenCV's default quality for JPEG."""


def jpeg(picture: np.ndarray, quality: int = OPENCV_QUALITY) -> bytes:
    """picture: uint8, HxW grey or HxWx3 RGB."""
    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", stored, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
