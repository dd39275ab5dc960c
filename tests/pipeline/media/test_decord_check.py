"""decord beside the default decoder on made clips: the same pictures, or a reject that names the other decoder; never others."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from pipeline.media.frames import FrameRequest, SampledFrames, sample_frames
from pipeline.rejects import Rejected

H264 = ["-c:v", "libx264", "-bf", "2", "-g", "25"]
HEVC = ["-c:v", "libx265", "-x265-params"]


def made(path: Path, *options: str) -> Path:
    source = ["-f", "lavfi", "-i", "testsrc2=d=4:s=160x120:r=25"]
    program = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([program, "-v", "error", "-y", *source, *options, str(path)], check=True)
    return path


def decoded(path: Path, decoder: str) -> SampledFrames | str:
    """What is sampled, or the words of a refusal of decord."""
    try:
        return sample_frames(path, FrameRequest(end_s=3.5, decoder=decoder), keep=np.ascontiguousarray)
    except Rejected as rejected:
        return str(rejected)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", H264),
        ("a.mkv", H264),
        ("a.flv", H264),
        ("open.mp4", [*H264, "-x264-params", "open-gop=1"]),
        ("closed.mp4", [*HEVC, "log-level=error:open-gop=0:keyint=25"]),
        ("a.webm", ["-c:v", "libvpx-vp9", "-g", "25"]),
        ("plain.avi", ["-c:v", "mpeg4", "-bf", "0"]),
    ],
)
def test_decord_shows_the_pictures_of_files_that_it_is_good_for(tmp_path, name, options):
    path = made(tmp_path / name, *options)
    ours, theirs = decoded(path, "pyav"), decoded(path, "decord")
    assert isinstance(theirs, SampledFrames) and theirs.indices.tolist() == ours.indices.tolist()
    for one, other in zip(ours.images, theirs.images, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b.avi", ["-c:v", "mpeg4", "-bf", "2"]),
        ("h264.avi", H264),
        ("b.mp4", ["-c:v", "mpeg4", "-bf", "2"]),
        ("mpeg2.mkv", ["-c:v", "mpeg2video", "-bf", "2"]),
        ("a.ts", H264),
        ("wrapped.ts", [*H264, "-output_ts_offset", "95440"]),
        ("a.wmv", ["-c:v", "wmv2"]),
        ("open.mp4", [*HEVC, "log-level=error:open-gop=1:keyint=25"]),
    ],
)
def test_decord_is_refused_where_it_shows_other_pictures(tmp_path, name, options):
    said = decoded(made(tmp_path / name, *options), "decord")
    assert isinstance(said, str) and said.startswith("unsupported_codec: decord gives wrong pictures of ")
    assert "--crops.decoder pyav" in said


def test_decord_is_refused_for_an_edit_list_and_for_lost_first_packets(tmp_path):
    whole = made(tmp_path / "whole.mp4", *H264)
    program = imageio_ffmpeg.get_ffmpeg_exe()
    cut = [program, "-v", "error", "-y", "-ss", "1.3", "-i", str(whole), "-c", "copy", str(tmp_path / "cut.mp4")]
    subprocess.run(cut, check=True)
    assert "edit list" in decoded(tmp_path / "cut.mp4", "decord")
    lost = made(tmp_path / "lost.mkv", *H264)
    skipped = ["-copyinkf", "-bsf:v", "noise=drop=lt(n\\,3)", "-c", "copy", str(tmp_path / "late.mkv")]
    subprocess.run([program, "-v", "error", "-y", "-i", str(lost), *skipped], check=True)
    assert "does not begin with a key frame" in decoded(tmp_path / "late.mkv", "decord")


def test_what_decord_cannot_open_is_a_reject(tmp_path):
    with pytest.raises(Rejected, match="cannot find video stream"):  # it was built before there was a decoder of AV1
        sample_frames(made(tmp_path / "a.mp4", "-c:v", "libaom-av1", "-cpu-used", "8"), FrameRequest(decoder="decord"))
