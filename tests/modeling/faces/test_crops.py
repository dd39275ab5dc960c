"""Crops against the plainest reference: cut out of a picture padded by numpy, resized by cv2 or averaged by hand."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from modeling.faces.crops import centre_crop_fraction, square_crops
from modeling.teachers.published import prepare


def picture(height: int = 60, width: int = 90, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(
    x0=st.integers(-150, 150),
    y0=st.integers(-150, 150),
    width=st.integers(1, 120),
    height=st.integers(1, 120),
)
def test_a_crop_is_the_square_of_a_picture_with_repeated_border(x0, y0, width, height):
    side = 2 * max(width, height)  # even, so that the centre of an even box falls between pixels
    box = np.array([[x0, y0, x0 + 2 * width, y0 + 2 * height]])
    pad = 500
    padded = np.pad(picture(), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    left, top = x0 + width - side // 2 + pad, y0 + height - side // 2 + pad
    [crop] = square_crops(picture(), box, 1.0, side, grey=False)
    np.testing.assert_array_equal(crop, padded[top : top + side, left : left + side])


def test_scale_takes_the_longer_side_of_the_box_about_its_centre():
    box = np.array([[30, 10, 50, 50]])  # 20 x 40 around (40, 30)
    [crop] = square_crops(picture(), box, 0.5, 20, grey=False)
    np.testing.assert_array_equal(crop, picture()[20:40, 30:50])


def test_shrinking_averages_and_enlarging_interpolates():
    image = picture()
    [half] = square_crops(image, np.array([[10, 10, 42, 42]]), 1.0, 16, grey=False)
    means = image[10:42, 10:42].reshape(16, 2, 16, 2, 3).astype(float).mean(axis=(1, 3))
    assert np.abs(half - means).max() <= 0.5
    [double] = square_crops(image, np.array([[10, 10, 42, 42]]), 1.0, 64, grey=False)
    np.testing.assert_array_equal(double, cv2.resize(image[10:42, 10:42], (64, 64), interpolation=cv2.INTER_LINEAR))


def test_grey_has_the_weights_of_rgb2gray():
    image = picture()
    [crop] = square_crops(image, np.array([[10, 10, 42, 42]]), 1.0, 32, grey=True)
    luma = image[10:42, 10:42].astype(float) @ [0.299, 0.587, 0.114]
    assert crop.shape == (32, 32) and np.abs(crop - luma).max() <= 0.51


def test_a_shrunk_grey_crop_is_the_mean_luma_of_its_areas():
    image = picture()
    [crop] = square_crops(image, np.array([[10, 10, 42, 42]]), 1.0, 16, grey=True)
    luma = image[10:42, 10:42].astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(crop - luma.reshape(16, 2, 16, 2).mean(axis=(1, 3))).max() <= 1.01


@pytest.mark.parametrize(("grey", "shape"), [(True, (0, 48, 48)), (False, (0, 48, 48, 3))])
def test_no_box_gives_no_crop(grey, shape):
    crops = square_crops(picture(), np.empty((0, 4), np.float32), 1.0, 48, grey)
    assert crops.shape == shape and crops.dtype == np.uint8


@pytest.mark.parametrize("side_px", [256, 160, 480])
def test_a_voxceleb_picture_becomes_the_input_of_the_published_networks(side_px):
    """1.6 x context -> centre crop 1/1.6 -> 224 bilinear -> bytes -> grey -> minus the means, by Pillow and numpy."""
    coarse = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    margin = round(side_px * (1 - 1 / 1.6) / 2)
    inner = Image.fromarray(image).crop((margin, margin, side_px - margin, side_px - margin))
    resized = np.asarray(inner.resize((224, 224), Image.Resampling.BILINEAR), float)
    expected = (resized @ [0.2989, 0.5870, 0.1140])[None] - np.array([131.0912, 103.8827, 91.4953])[:, None, None]
    crops = square_crops(image, centre_crop_fraction(image, 1.6), 1.0, 224, grey=True)
    assert np.abs(prepare(torch.from_numpy(crops))[0].numpy() - expected).max() < (1.6 if side_px < 350 else 8)


def test_a_voxceleb_picture_holds_its_face_in_the_centre():
    """MatConvNet's CropSize 1/1.6 of 160 pixels is the 100 pixels in the middle."""
    np.testing.assert_allclose(centre_crop_fraction(picture(160, 160), 1.6), [[30, 30, 130, 130]], atol=1e-4)
    np.testing.assert_allclose(centre_crop_fraction(picture(60, 90), 1.0), [[0, 0, 90, 60]])
    with pytest.raises(ValueError, match="0.5 is below 1"):
        centre_crop_fraction(picture(), 0.5)


@pytest.mark.parametrize("side", [20, 32, 64, 256])
def test_a_rough_crop_shows_the_same_to_a_viewer(side):
    y, x = np.mgrid[:256, :256]
    image = np.stack([x, y, (x + y) // 2], -1).astype(np.uint8)
    box = np.array([[0, 0, side, side]])
    exact, rough = (square_crops(image, box, 1.0, 16, grey=False, rough=rough)[0] for rough in (False, True))
    half_of_a_step = side / 32  # between the pixels that are picked
    assert np.abs(exact.astype(int) - rough).max() <= half_of_a_step
