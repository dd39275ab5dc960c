"""What the cropping operator makes of single utterances."""

import numpy as np
import pyarrow as pa
import pytest
import ray

from modeling.teachers.base import CropRule
from pipeline.assets.weights import detector_weights
from pipeline.labelling.crop_options import CropOptions
from pipeline.labelling.cropper import FaceCropper
from tests.support import clips
from tests.support.labelling_runs import manifest_of

RULE = CropRule(side_px=48, grey=True, scale=1.0)


def cropped(manifest: pa.Table, **options) -> list[dict]:
    detector = ray.put(detector_weights("mobilenet0.25"))
    cropper = FaceCropper(options=CropOptions(**options), crop_rule=RULE, detector=detector)
    try:
        return [row for table in cropper(manifest) for row in table.to_pylist()]
    finally:
        cropper.decoder.close()


@pytest.fixture(scope="module")
def late_face(data_dir, tmp_path_factory) -> str:
    """Five seconds of a test picture, then a face; the sound ends after two."""
    path = tmp_path_factory.mktemp("clips") / "late_face.mp4"
    inputs = ("-f", "lavfi", "-i", "color=s=480x480:d=5:r=25")
    face = ("-i", data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4")
    tone = ("-f", "lavfi", "-i", "sine=d=2:r=16000")
    graph = "[1:v]scale=480:480,setsar=1,fps=25[face];[0:v]setsar=1[blank];[blank][face]concat=n=2:v=1:a=0[v]"
    clips.ffmpeg(*inputs, *face, *tone, "-filter_complex", graph, "-map", "[v]", "-map", "2:a", path)
    return str(path)


@pytest.mark.slow
def test_a_face_that_appears_after_the_sound_has_a_reason_of_its_own(ray_session, late_face):
    [row] = cropped(manifest_of({"late": late_face}))
    assert row["reject_reason"] == "face_after_speech" and row["crops"] is None
    assert "the sound ends at" in row["reject_detail"]
    [row] = cropped(manifest_of({"late": late_face}), look_every=1)
    assert row["reject_reason"] == "face_after_speech"


@pytest.mark.slow
def test_rows_come_in_order_whatever_became_of_those_before(ray_session, data_dir, tmp_path):
    """The next row is decoded while one is cropped; a row that cannot even be asked for must not shift the others."""
    good = str(data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4")
    silent_film = str(data_dir / "video/labelled/EAMM_MEAD_contempt.mp4")
    files = {"a": good, "b": silent_film, "c": str(tmp_path / "gone.mp4"), "d": good}
    rows = cropped(manifest_of(files), without_speech=True)
    assert [(row["utterance_id"][0], row["reject_reason"]) for row in rows] == [
        ("a", None), ("b", None), ("c", "file_not_found"), ("d", None),
    ]  # fmt: skip
    assert [row["speech_samples"] > 0 for row in rows if row["reject_reason"] is None] == [True, False, True]
    shapes = [np.frombuffer(row["crops"], np.uint8).reshape(-1, 48, 48).shape[0] for row in rows if row["crops"]]
    assert shapes == [len(row["frame_indices"]) for row in rows if row["crops"]]
    assert rows[0]["crops"] == rows[3]["crops"]
