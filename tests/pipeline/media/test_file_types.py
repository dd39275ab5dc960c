"""Every ending that is listed can be read, and none that ffmpeg reads is passed over without a word."""

import pytest

from pipeline.media.file_types import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from pipeline.media.frames import FrameRequest, sample_frames
from pipeline.media.lengths import length_s
from pipeline.media.speech import read_speech
from tests.support import clips
from tests.support.containers import SOUNDS, VIDEOS

LATE_SAMPLES = 1_600
"""ffmpeg writes no silence before a sound that begins late; Windows Media begins at up to 0.1 s."""

NOT_MADE_HERE = {
    "spx",
    "m1v",
    "m2v",
    "mpv",
    "rm",
    "rmvb",
    "ape",
    "gsm",
    "sph",
    "nist",
    "ra",
}  # no encoder, or pictures alone


@pytest.mark.parametrize("suffix", VIDEOS)
def test_a_video_of_this_ending_is_seen_and_heard(tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    source = ("-f", "lavfi", "-i", "testsrc2=d=2:s=352x288:r=25", "-f", "lavfi", "-i", "sine=d=2:r=48000")
    clips.ffmpeg(*source, *VIDEOS[suffix], path)
    assert length_s(str(path)) == pytest.approx(2.0, abs=0.15)
    assert len(sample_frames(path, FrameRequest()).images) >= 8
    speech, reference = read_speech(path, 0.0, None), clips.ffmpeg_speech(path)
    assert len(speech) == pytest.approx(len(reference), abs=LATE_SAMPLES)


@pytest.mark.parametrize("suffix", SOUNDS)
def test_a_sound_of_this_ending_is_heard(tmp_path, suffix):
    path = tmp_path / f"sound.{suffix}"
    clips.ffmpeg("-f", "lavfi", "-i", "sine=d=2:r=44100", *SOUNDS[suffix], path)
    assert abs(len(read_speech(path, 0.0, None)) - len(clips.ffmpeg_speech(path))) <= LATE_SAMPLES


def test_every_ending_that_is_listed_is_tried_here():
    tried = {f".{name}" for name in {*VIDEOS, *SOUNDS, *NOT_MADE_HERE}}
    assert tried == {*VIDEO_SUFFIXES, *AUDIO_SUFFIXES}
