"""What is opened, and what is not."""

import os

import numpy as np
import pytest
import soundfile

from pipeline.media.frames import FrameRequest, sample_frames
from pipeline.media.lengths import length_by_looks_s, length_s
from pipeline.media.speech import read_speech
from pipeline.rejects import Rejected, RejectReason
from tests.support import clips


def reason_of(read, *arguments) -> RejectReason:
    with pytest.raises(Rejected) as rejected:
        read(*arguments)
    return rejected.value.reason


@pytest.mark.parametrize("suffix", ["avi", "mp3", "mkv", "mp4"])
def test_tags_that_are_not_utf8_cost_nothing(tmp_path, suffix):
    path = tmp_path / f"tagged.{suffix}"
    picture = [] if suffix == "mp3" else ["-f", "lavfi", "-i", "testsrc2=d=2:s=128x128"]
    tags = ["-metadata", "title=Z~rich", "-metadata:s:0", "title=Z~rich", "-write_id3v1", "1"]
    clips.ffmpeg(*picture, "-f", "lavfi", "-i", "sine=d=2", *(tags if suffix == "mp3" else tags[:4]), path)
    path.write_bytes(path.read_bytes().replace(b"Z~rich", b"Z\xfcrich"))
    assert length_s(str(path)) == pytest.approx(2.0, abs=0.1)
    with path.open("rb") as file:
        assert length_by_looks_s(file, path.stat().st_size) == pytest.approx(2.0, abs=0.1)
    assert len(read_speech(path, 0.0, None)) > 31_000


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    for read in (length_s, lambda path: sample_frames(path, FrameRequest()), lambda path: read_speech(path, 0.0, None)):
        assert reason_of(read, str(tmp_path / "pipe.mp4")) == RejectReason.NOT_A_VIDEO


def test_texts_that_name_other_files_are_not_videos(tmp_path):
    clips.write_stamped_clip(tmp_path / "real.mp4", np.arange(50) / 25, tone_s=(0.0, 2.0))
    texts = {
        "concat.mp4": "ffconcat version 1.0\nfile real.mp4\n",
        "hls.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nreal.mp4\n#EXT-X-ENDLIST\n",
        "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nreal.mp4\n#EXT-X-ENDLIST\n",
        "dash.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"></MPD>',
        "sdp.mp4": "v=0\nm=audio 5004 RTP/AVP 0\nc=IN IP4 127.0.0.1\n",
        "image%03d.mp4": "P5 1 1 255 x",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert reason_of(length_s, str(tmp_path / name)) == RejectReason.NOT_A_VIDEO, name


def test_a_picture_bomb_is_refused(tmp_path):
    """16000 x 16000 pixels of 16 bits: 1.5 GB from 1.5 MB."""
    black = ["-f", "lavfi", "-i", "color=s=16000x16000:d=0.04:r=25", "-frames:v", 1]
    clips.ffmpeg(*black, "-pix_fmt", "gray", "-c:v", "png", tmp_path / "bomb.mov")
    with pytest.raises(Rejected, match="of more than 67108864 pixels"):
        sample_frames(tmp_path / "bomb.mov", FrameRequest())


def test_sound_of_a_thousand_channels_or_of_no_rate_is_refused(tmp_path):
    soundfile.write(tmp_path / "many.wav", np.zeros((100, 300)), 16_000)
    assert reason_of(read_speech, tmp_path / "many.wav", 0.0, None) == RejectReason.BEYOND_LIMITS
    soundfile.write(tmp_path / "slow.wav", np.zeros(1000), 2)
    assert reason_of(read_speech, tmp_path / "slow.wav", 0.0, None) == RejectReason.BEYOND_LIMITS


@pytest.mark.parametrize("suffix", ["flv", "ts", "mpg"])
def test_sound_that_begins_late_is_found(tmp_path, suffix):
    """Sixteen seconds after the pictures, in containers that do not say at their beginning what they hold."""
    picture = ["-f", "lavfi", "-i", "testsrc2=d=20:s=320x240:r=25"]
    sound = ["-itsoffset", 16, "-f", "lavfi", "-i", "sine=d=4:r=44100"]
    path = tmp_path / f"late.{suffix}"
    clips.ffmpeg(*picture, *sound, "-map", 0, "-map", 1, "-b:v", "4M", path)
    speech = read_speech(path, 0.0, None)
    assert len(speech) / 16_000 == pytest.approx(20.0, abs=0.1)
    loud_s = np.flatnonzero(np.abs(speech.astype(int)) > 1000)[[0, -1]] / 16_000
    assert loud_s == pytest.approx([16.0, 20.0], abs=0.1)
    assert len(sample_frames(path, FrameRequest()).images) >= 83
