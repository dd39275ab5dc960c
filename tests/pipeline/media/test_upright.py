"""Pictures as a player shows them: square pixels, turned and mirrored by the display matrix, as the ffmpeg program does."""

from fractions import Fraction

import numpy as np
import pytest

from pipeline.media.frames import FrameRequest, sample_frames
from pipeline.media.probe import probe
from pipeline.media.upright import shown_size
from tests.support import clips

WIDE = {
    "mp4": ("libx264", []),
    "avi": ("mpeg4", ["-q:v", 2]),
    "mpg": ("mpeg2video", ["-q:v", 2]),
    "mkv": ("libvpx-vp9", []),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """4:3, neither of its axes symmetrical."""
    path = tmp_path_factory.mktemp("clips") / "plain.mp4"
    clips.ffmpeg("-f", "lavfi", "-i", "testsrc2=d=1:s=320x240:r=25", "-c:v", "libx264", "-crf", 12, path)
    return path


@pytest.mark.parametrize("suffix", WIDE)
def test_pixels_that_are_not_square_are_shown_square(plain, tmp_path, suffix):
    codec, quality = WIDE[suffix]
    path = tmp_path / f"narrow.{suffix}"
    clips.ffmpeg("-i", plain, "-vf", "scale=240:240,setsar=4/3", "-c:v", codec, *quality, path)
    expected = sample_frames(plain, FrameRequest()).images
    found = sample_frames(path, FrameRequest()).images
    assert (probe(path).width, probe(path).height) == (320, 240)
    for image, other in zip(found, expected, strict=True):
        assert image.shape == other.shape and np.abs(image.astype(int) - other).mean() < 12


def test_pixels_that_are_higher_than_wide_grow_upwards():
    assert shown_size(480, 720, Fraction(8, 9)) == (540, 720)
    assert shown_size(576, 720, Fraction(64, 45)) == (576, 1024)


def test_a_pixel_that_nobody_can_mean_changes_nothing():
    assert shown_size(480, 720, Fraction(1000, 1)) == shown_size(480, 720, Fraction(0)) == (480, 720)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", [None, "-display_hflip", "-display_vflip"])
def test_a_display_matrix_turns_and_mirrors_as_in_ffmpeg(plain, tmp_path, degrees, flip):
    path = tmp_path / "turned.mp4"
    clips.ffmpeg("-display_rotation", degrees, *([flip] if flip else []), "-i", plain, "-c", "copy", path)
    image = sample_frames(path, FrameRequest()).images[0]
    assert np.array_equal(image, clips.ffmpeg_frames(path)[1][0])
    assert (probe(path).height, probe(path).width) == image.shape[:2]


def test_narrow_pixels_of_a_turned_picture_are_stretched_before_it_is_turned(plain, tmp_path):
    narrow, path = tmp_path / "narrow.mp4", tmp_path / "turned.mp4"
    clips.ffmpeg("-i", plain, "-vf", "scale=240:240,setsar=4/3", "-c:v", "libx264", narrow)
    clips.ffmpeg("-display_rotation", 90, "-i", narrow, "-c", "copy", path)
    assert sample_frames(path, FrameRequest()).images[0].shape == (320, 240, 3)
