"""Contract: files that lie about themselves, or that other programs wrote oddly, cost themselves alone, and those that ffmpeg
shows as the plain clip are labelled as the plain clip."""

import os
import struct
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from cluster.working_tree import PROJECT_ROOT
from tests.support import clips
from tests.support.labelling_runs import labelled_by, manifest_of, read_rows, run_of

SECONDS = 3


@pytest.fixture(scope="module")
def plain(data_dir, tmp_path_factory):
    source = data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4"
    path = tmp_path_factory.mktemp("plain") / "plain.mp4"
    clips.ffmpeg("-i", source, "-t", SECONDS, "-vf", "scale=480:-2,fps=25", "-c:v", "libx264", "-crf", 16, path)
    return path


def write_odd(plain, folder) -> None:
    """Each as ffmpeg shows it: the plain clip, once or twice."""
    wide = "scale=trunc(iw*3/8)*2:ih,setsar=4/3"
    clips.ffmpeg("-i", plain, "-vf", wide, "-c:v", "libx264", "-crf", 16, "-c:a", "copy", folder / "narrow.mp4")
    clips.ffmpeg("-i", plain, "-vf", wide, "-c:v", "mpeg4", "-q:v", 2, "-c:a", "libmp3lame", folder / "narrow.avi")
    clips.ffmpeg("-i", plain, "-vf", "hflip", "-c:v", "libx264", "-crf", 16, "-c:a", "copy", folder / "m.mp4")
    clips.ffmpeg("-display_hflip", "-i", folder / "m.mp4", "-c", "copy", folder / "mirrored.mp4")
    (folder / "m.mp4").unlink()
    clips.ffmpeg("-i", plain, "-c:v", "libsvtav1", "-preset", 10, "-crf", 20, "-c:a", "copy", folder / "av1.mp4")
    clips.ffmpeg("-i", plain, "-c", "copy", "-output_ts_offset", 3600, folder / "hour.mkv")
    clips.ffmpeg("-i", plain, "-af", "apad=pad_dur=9", "-c:v", "copy", folder / "radio.mp4")
    clips.ffmpeg("-i", plain, "-c:v", "mpeg2video", "-q:v", 2, "-c:a", "mp2", "-r", 25, folder / "twice.vob")
    (folder / "twice.vob").write_bytes((folder / "twice.vob").read_bytes() * 2)
    clips.ffmpeg("-i", plain, "-c", "copy", folder / "claims.mkv")
    data = (folder / "claims.mkv").read_bytes()
    at = data.index(b"\x44\x89\x88") + 3
    (folder / "claims.mkv").write_bytes(data[:at] + struct.pack(">d", 1e12) + data[at + 8 :])


@pytest.mark.slow
def test_what_ffmpeg_shows_as_the_plain_clip_is_labelled_as_the_plain_clip(ray_session, plain, tmp_path):
    write_odd(plain, tmp_path)
    files = {"plain": str(plain)} | {path.name: str(path) for path in sorted(tmp_path.iterdir())}
    run = run_of(manifest_of(files), tmp_path / "labels")
    facts = labelled_by(run)
    assert facts["rejected"] == 0 and "unforeseen" not in facts
    rows = {row["utterance_id"].removesuffix("#0"): row for row in read_rows(run)}
    expected = rows["plain"]
    for name, row in rows.items():
        assert row["emotion"] == expected["emotion"], name
        assert np.abs(np.mean(row["frame_boxes"], 0) - np.mean(expected["frame_boxes"], 0)).max() < 0.02, name
        times = 2 if name == "twice.vob" else 1
        assert len(row["frame_indices"]) == pytest.approx(times * len(expected["frame_indices"]), abs=1), name


@pytest.mark.slow
def test_a_picture_whose_size_changes_is_labelled_to_its_end(ray_session, plain, tmp_path):
    for name, width in (("large", 480), ("small", 240)):
        options = ("-an", "-vf", f"scale={width}:-2", "-c:v", "libvpx", "-b:v", "2M")
        clips.ffmpeg("-i", plain, *options, tmp_path / f"{name}.webm")
    (tmp_path / "list.txt").write_text("file large.webm\nfile small.webm\n")
    joined = ("-f", "concat", "-i", tmp_path / "list.txt", "-stream_loop", 1, "-i", plain, "-map", "0:v", "-map", "1:a")
    clips.ffmpeg(*joined, "-c:v", "copy", "-c:a", "libopus", "-t", 2 * SECONDS, tmp_path / "call.webm")
    run = run_of(manifest_of({"plain": str(plain), "call": str(tmp_path / "call.webm")}), tmp_path / "labels")
    assert labelled_by(run)["labelled"] == 2
    call, expected = sorted(read_rows(run), key=lambda row: row["utterance_id"])
    assert len(call["face_tracks"]) == 1 and len(call["frame_indices"]) == call["frames_sampled"]
    half = len(call["frame_boxes"]) // 2
    for boxes in (call["frame_boxes"][:half], call["frame_boxes"][half:]):
        assert np.abs(np.mean(boxes, 0) - np.mean(expected["frame_boxes"], 0)).max() < 0.03


WITH_MEMORY = """import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)"""
"""A small process between: the kernel counts the memory of the process that starts a command as the command's."""


@pytest.mark.slow
def test_index_holds_its_memory_and_names_every_file_whatever_they_claim(plain, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for number in range(6):
        bomb = ["-f", "lavfi", "-i", "color=s=16000x16000:d=0.04:r=25", "-frames:v", 1]
        if number:
            os.link(videos / "bomb0.mov", videos / f"bomb{number}.mov")
        else:
            clips.ffmpeg(*bomb, "-pix_fmt", "rgb48be", "-c:v", "png", videos / "bomb0.mov")
    write_odd(plain, videos)
    (videos / "text.mp4").write_text("ffconcat version 1.0\nfile plain.mp4\n" * 9)
    (videos / "empty.ts").touch()
    manifest = tmp_path / "manifest.parquet"
    command = [sys.executable, "-m", "jobs", "index", "--data", str(videos), "--out", str(manifest)]
    done = subprocess.run([sys.executable, "-c", WITH_MEMORY, *command], cwd=PROJECT_ROOT, stdout=subprocess.PIPE)
    assert done.returncode == 0 and int(done.stdout.splitlines()[-1]) < 2**20  # kilobytes, of the largest process
    rows = pq.read_table(manifest).to_pylist()
    assert {row["video_id"] for row in rows} == {path.name for path in videos.iterdir()}
    lengths = {row["video_id"]: row["end_s"] for row in rows}
    assert len(rows) == len(lengths)  # no phantom rows
    for name in ("narrow.mp4", "narrow.avi", "mirrored.mp4", "av1.mp4", "hour.mkv", "radio.mp4", "claims.mkv"):
        assert lengths[name] == pytest.approx(SECONDS, abs=0.1), name
    assert lengths["twice.vob"] == pytest.approx(2 * SECONDS, abs=0.1)
