"""Pictures as files: the colours that went in come out."""

import cv2
import numpy as np
import pytest

from pipeline.media.pictures import jpeg


@pytest.mark.parametrize("colour", [(220, 30, 40), (30, 200, 60), (20, 40, 210)])
def test_red_stays_red(colour):
    picture = np.full((64, 64, 3), colour, np.uint8)
    read = cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg(picture, 80), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.abs(read.astype(int) - colour).max() < 8


def test_grey_pictures_have_one_channel_and_opencvs_own_quality():
    picture = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    assert jpeg(picture) == cv2.imencode(".jpg", picture)[1].tobytes()
    assert cv2.imdecode(np.frombuffer(jpeg(picture), np.uint8), cv2.IMREAD_UNCHANGED).shape == (48, 48)
