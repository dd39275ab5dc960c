"""Files whose clock starts again or jumps: the second part lies behind the first, as the ffmpeg program shows it."""

import numpy as np
import pytest

from pipeline.media.clock import whole_clock_of
from pipeline.media.frames import FrameRequest, sample_frames
from pipeline.media.lengths import length_by_looks_s, length_s
from pipeline.media.speech import read_speech, stream_speech
from tests.support import clips

SECONDS = 4.0
CODECS = {
    "ts": ("libx264", "aac"),
    "vob": ("mpeg2video", "mp2"),
    "mkv": ("libx264", "flac"),
    "ogv": ("libtheora", "flac"),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Frame i shows i; a tone from 0 to 4 s."""
    path = tmp_path_factory.mktemp("clips") / "plain.mp4"
    return clips.write_stamped_clip(path, np.arange(100) / 25, tone_s=(0.0, SECONDS))


def joined(plain, folder, suffix: str):
    """The clip twice, one file's bytes behind the other's."""
    video, audio = CODECS[suffix]
    once = folder / f"once.{suffix}"
    clips.ffmpeg("-i", plain, "-c:v", video, "-q:v", 3, "-b:v", "2M", "-c:a", audio, "-r", 25, once)
    twice = folder / f"twice.{suffix}"
    twice.write_bytes(once.read_bytes() * 2)
    return once, twice


@pytest.mark.parametrize("suffix", CODECS)
def test_the_second_of_two_joined_recordings_lies_behind_the_first(plain, tmp_path, suffix):
    once, twice = joined(plain, tmp_path, suffix)
    [restart_s] = whole_clock_of(str(twice)).restarts_s
    assert restart_s == pytest.approx(SECONDS, abs=0.13)
    frames = sample_frames(twice, FrameRequest())
    assert (np.diff(frames.indices) == 1).all() and len(frames.indices) >= 33
    for image, time_s in zip(frames.images, frames.times_s, strict=True):
        shown = time_s - (restart_s if time_s >= restart_s else 0.0)
        assert clips.stamp(image) == pytest.approx(25 * shown, abs=2.6)  # MPEG begins a recording at up to 0.1 s
    speech = read_speech(twice, 0.0, None)
    assert len(speech) / 16_000 == pytest.approx(len(clips.ffmpeg_speech(twice)) / 16_000, abs=0.13)
    part = clips.ffmpeg_speech(once)[8_000:56_000].astype(float)
    behind = round(restart_s * 16_000) + 8_000
    starts = range(behind - 2_400, behind + 2_400)
    match = max(float(speech[start : start + len(part)] @ part) for start in starts) / float(part @ part)
    assert match == pytest.approx(
        1, abs=0.1 if suffix == "ogv" else 0.02
    )  # ffmpeg numbers a chained Theora's packets late


@pytest.mark.parametrize("suffix", ["ts", "vob"])
def test_a_span_behind_the_place_where_the_clock_starts_again_is_found(plain, tmp_path, suffix):
    _, twice = joined(plain, tmp_path, suffix)
    whole, span = (sample_frames(twice, FrameRequest(start_s=start_s)) for start_s in (0.0, 5.04))
    shown = dict(zip(whole.indices.tolist(), map(clips.stamp, whole.images), strict=True))
    assert [clips.stamp(image) for image in span.images] == [shown[k] for k in range(21, max(shown) + 1)]
    sound = read_speech(twice, 5.04, 6.04)
    assert np.array_equal(sound, read_speech(twice, 0.0, None)[80_640:96_640])


def test_a_time_stamp_that_jumps_by_years_ends_nothing_and_hides_nothing(plain, tmp_path):
    """The setts filter gives all packets from the second second on a place a billion seconds later."""
    path = tmp_path / "jumps.mkv"
    jump = "setts=ts='TS+if(gte(TS*TB,2),1000000000/TB,0)'"
    clips.ffmpeg("-i", plain, "-c", "copy", "-bsf:v", jump, "-bsf:a", jump, path)
    frames = sample_frames(path, FrameRequest())
    assert [clips.stamp(image) for image in frames.images] == pytest.approx(6 * np.arange(17), abs=1)
    pieces = list(stream_speech(path))
    assert sum(map(len, pieces)) / 16_000 == pytest.approx(SECONDS, abs=0.1)


def test_a_clock_that_begins_at_an_hour_begins_at_zero(plain, tmp_path):
    path = tmp_path / "late.mkv"
    clips.ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", 3600, path)
    assert [clips.stamp(image) for image in sample_frames(path, FrameRequest()).images] == list(range(0, 100, 6))
    assert whole_clock_of(str(path)).ends_s["video"] == pytest.approx(SECONDS, abs=0.05)


def test_chained_ogg_is_heard_to_its_end(tmp_path):
    for name, codec in (("vorbis", "libvorbis"), ("opus", "libopus"), ("flac", "flac")):
        once, twice = tmp_path / f"{name}.ogg", tmp_path / f"{name}_twice.ogg"
        clips.ffmpeg("-f", "lavfi", "-i", "sine=d=2", "-c:a", codec, once)
        twice.write_bytes(once.read_bytes() * 2)
        speech, reference = read_speech(twice, 0.0, None), clips.ffmpeg_speech(twice)
        assert len(speech) == len(reference) and np.abs(speech.astype(int) - reference).max() <= 4


def test_pictures_whose_time_stamps_go_back_take_no_place_twice(plain, tmp_path):
    """The last tenth of a second lies at 3.7 s again."""
    path = tmp_path / "back.mkv"
    back = "setts=ts='TS-if(gte(TS*TB,3.9),0.2/TB,0)'"
    clips.ffmpeg("-i", plain, "-c:v", "libx264", "-bf", 0, "-c:a", "copy", "-bsf:v", back, path)
    assert (np.diff(sample_frames(path, FrameRequest()).indices) > 0).all()


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_b_pictures_at_a_low_rate_are_no_clock_that_starts_again(tmp_path, codec):
    """Matroska keeps no decoding times, and ffmpeg has none for the first packets; their times of presentation go back."""
    made = ("-f", "lavfi", "-i", "testsrc2=d=8:s=128x96:r=5", "-f", "lavfi", "-i", "sine=d=8:r=16000")
    clips.ffmpeg(*made, "-c:v", codec, "-bf", 3, "-c:a", "aac", tmp_path / "slow.mkv")
    clips.ffmpeg("-i", tmp_path / "slow.mkv", "-c", "copy", tmp_path / "slow.mp4")
    clock = whole_clock_of(str(tmp_path / "slow.mkv"))
    assert clock.restarts_s == () and clock.ends_s["video"] == pytest.approx(8, abs=0.01)
    shown, expected = (sample_frames(tmp_path / f"slow.{kind}", FrameRequest()) for kind in ("mkv", "mp4"))
    assert shown.indices.tolist() == expected.indices.tolist()
    assert all((a == b).all() for a, b in zip(shown.images, expected.images, strict=True))


def test_what_an_edit_list_leaves_out_moves_no_time(plain, tmp_path):
    """A trim without encoding anew: packets before the cut are in the file and are not shown."""
    clips.ffmpeg("-i", plain, "-g", 1000, "-c:a", "aac", tmp_path / "one_key.mp4")
    clips.ffmpeg("-ss", 1.5, "-i", tmp_path / "one_key.mp4", "-c", "copy", tmp_path / "trimmed.mp4")
    clock = whole_clock_of(str(tmp_path / "trimmed.mp4"))
    assert float(clock.zero_s) == 0 and clock.ends_s["video"] == pytest.approx(2.5, abs=0.05)
    assert length_s(str(tmp_path / "trimmed.mp4")) == pytest.approx(2.5, abs=0.05)


def test_a_file_is_as_long_as_the_picture_stream_that_is_decoded(plain, tmp_path):
    """A second one, of a slide show, is longer."""
    slides = ("-f", "lavfi", "-i", "color=red:s=640x480:d=9:r=5")
    maps = ("-map", "1:v", "-map", "0:v", "-map", "1:a", "-disposition:v:0", "default", "-disposition:v:1", "0")
    clips.ffmpeg(*slides, "-i", plain, *maps, "-c:v:1", "libx264", "-c:v:0", "libx264", tmp_path / "two.mp4")
    for path in (tmp_path / "two.mp4",):
        assert length_s(str(path)) == pytest.approx(SECONDS, abs=0.05)
        with path.open("rb") as file:
            assert length_by_looks_s(file, path.stat().st_size) == pytest.approx(SECONDS, abs=0.05)
