"""How long a file is, by what is there and not by what its header claims."""

import re
import struct

import numpy as np
import pytest

from pipeline.media import lengths
from pipeline.media.lengths import length_by_looks_s, length_s
from pipeline.rejects import Rejected, RejectReason
from tests.support import clips


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "plain.mp4"
    return clips.write_stamped_clip(path, np.arange(100) / 25, tone_s=(0.0, 4.0))


def with_claim(plain, folder, seconds: float):
    """A Matroska file whose header claims another length (element 0x4489, a double, in milliseconds)."""
    path = folder / "claims.mkv"
    clips.ffmpeg("-i", plain, "-c", "copy", path)
    data = path.read_bytes()
    [at] = [match.end() for match in re.finditer(b"\x44\x89\x88", data)]
    path.write_bytes(data[:at] + struct.pack(">d", seconds * 1000) + data[at + 8 :])
    return path


def both_ways(path) -> list[float | None]:
    """As it is read here, and from afar."""
    with open(path, "rb") as file:
        return [length_s(str(path)), length_by_looks_s(file, path.stat().st_size) or length_s(str(path))]


@pytest.mark.parametrize("claimed_s", [2.0, 40.0, 1e7, 1e9, -5.0, 0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("is_large", [False, True])
def test_a_claimed_length_is_not_believed(plain, tmp_path, monkeypatch, claimed_s, is_large):
    if is_large:
        monkeypatch.setattr(lengths, "READ_WHOLE_BYTES", 0)
        monkeypatch.setattr(lengths, "READ_WHOLE_FAR_BYTES", 0)
    assert both_ways(with_claim(plain, tmp_path, claimed_s)) == pytest.approx([4.0, 4.0], abs=0.05)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "ts", "mpg", "flv", "webm"])
@pytest.mark.parametrize("is_large", [False, True])
def test_every_container_says_the_same(plain, tmp_path, monkeypatch, suffix, is_large):
    if is_large:
        monkeypatch.setattr(lengths, "READ_WHOLE_BYTES", 0)
        monkeypatch.setattr(lengths, "READ_WHOLE_FAR_BYTES", 0)
    path = tmp_path / f"clip.{suffix}"
    clips.ffmpeg("-i", plain, *(["-c:v", "libvpx"] if suffix == "webm" else []), path)
    assert both_ways(path) == pytest.approx([4.0, 4.0], abs=0.1)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_sound_that_goes_on_after_the_pictures_is_not_counted(plain, tmp_path, suffix):
    path = tmp_path / f"radio.{suffix}"
    clips.ffmpeg("-i", plain, "-af", "apad=pad_dur=20", "-c:v", "copy", path)
    assert both_ways(path) == pytest.approx([4.0, 4.0], abs=0.05)


def test_time_stamps_of_more_seconds_than_bytes_can_hold_are_refused(tmp_path):
    """One picture each nine minutes: no packet is ten minutes from the next."""
    path = clips.write_stamped_clip(tmp_path / "slides.mkv", 540.0 * np.arange(40))
    with pytest.raises(Rejected, match="fewer than 100 a second") as rejected:
        length_s(str(path))
    assert rejected.value.reason == RejectReason.BEYOND_LIMITS


def test_what_a_cut_file_misses_is_counted_so_that_it_becomes_a_reject(plain, tmp_path):
    fast = tmp_path / "fast.mp4"
    clips.ffmpeg("-i", plain, "-c", "copy", "-movflags", "+faststart", fast)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(fast.read_bytes()[: -fast.stat().st_size // 3])
    assert both_ways(cut) == pytest.approx([4.0, 4.0], abs=0.1)


def test_a_beginning_that_lies_a_day_ahead_makes_no_length_negative(plain, tmp_path):
    clips.ffmpeg("-i", plain, "-t", 0.4, "-output_ts_offset", 86_400, "-c:v", "libx264", tmp_path / "ahead.ts")
    clips.ffmpeg("-i", plain, "-c:v", "libx264", tmp_path / "plain.ts")
    path = tmp_path / "joined.ts"
    path.write_bytes((tmp_path / "ahead.ts").read_bytes() + (tmp_path / "plain.ts").read_bytes())
    assert both_ways(path) == pytest.approx([4.4, 4.4], abs=0.15)
