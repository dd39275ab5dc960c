"""The faces of labelled clips are those that `label` would crop."""

import numpy as np

from modeling.faces.retinaface import load_detector
from modeling.teachers.base import CropRule
from pipeline.corpora.clip import CorpusClip
from pipeline.teachers.clip_faces import faces_of_clips
from tests.support import clips


def test_a_picture_whose_size_changes_in_a_clip_shows_the_same_face(data_dir, tmp_path):
    """A call whose line gets worse: its second half is the first at half of the size."""
    source = data_dir / "video" / "labelled" / "MEAD_W036_level_3_happy_007.mp4"
    for name, width in (("large", 480), ("small", 240)):
        options = ("-t", 2, "-an", "-vf", f"scale={width}:-2,fps=25", "-c:v", "libvpx", "-b:v", "2M")
        clips.ffmpeg("-i", source, *options, tmp_path / f"{name}.webm")
    (tmp_path / "list.txt").write_text("file large.webm\nfile small.webm\n")
    clips.ffmpeg("-f", "concat", "-i", tmp_path / "list.txt", "-c", "copy", tmp_path / "call.webm")
    weights = (data_dir / "weights" / "retinaface" / "mobilenet0.25_Final.pth").read_bytes()
    clip = CorpusClip(file="call.webm", uri=str(tmp_path / "call.webm"))
    rule = CropRule(side_px=48, grey=True, scale=1.0)
    [found] = faces_of_clips([clip], load_detector("mobilenet0.25", weights), rule, [1.0])
    crops = found.crops[1.0].astype(float)
    assert len(crops) == 17 and np.abs(crops[:8].mean(0) - crops[-8:].mean(0)).mean() < 15


def test_an_error_that_nobody_foresaw_sets_aside_the_clip_alone(data_dir):
    name = "MEAD_W036_level_3_happy_007.mp4"
    clip = CorpusClip(file=name, uri=str(data_dir / "video" / "labelled" / name))
    weights = (data_dir / "weights" / "retinaface" / "mobilenet0.25_Final.pth").read_bytes()
    detect, calls = load_detector("mobilenet0.25", weights), []

    def fails_at_first(images):
        calls.append(len(images))
        if len(calls) == 1:
            raise OverflowError("cannot convert float infinity to integer")
        return detect(images)

    first, second = faces_of_clips([clip, clip], fails_at_first, CropRule(side_px=48, grey=True, scale=1.0), [1.0])
    assert first.clip.reject_reason == "damaged_video" and not first.crops
    assert first.clip.reject_detail == "unforeseen OverflowError: cannot convert float infinity to integer"
    assert second.clip.reject_reason is None and len(second.crops[1.0]) > 0
