"""Contract: a video that crashes or hangs the native decoder, or makes it eat memory, becomes one reject row, before its
deadline has passed twice; its neighbours in the same block are labelled, and the run ends well."""

import shutil

import pytest

from pipeline.decoding.deadline import Deadline
from tests.support.labelling_runs import labelled_by, manifest_of, read_rows, run_of


@pytest.mark.slow
def test_a_crash_a_hang_and_a_glutton_cost_one_row_each(ray_session, data_dir, tmp_path):
    clip = data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4"
    files = {
        name: str(tmp_path / f"{name}.mp4") for name in ("before", "hang", "memory", "middle", "segfault", "zuletzt")
    }
    for path in files.values():
        shutil.copy(clip, path)
    run = run_of(
        manifest_of(files),
        tmp_path / "labels",
        decoder="tests.support.poison_decoders:as_the_file_is_named",
        deadline=Deadline(to_open_s=4.0, per_media_s=2.0),
    )
    assert labelled_by(run) == {
        "rows": 6,
        "labelled": 3,
        "rejected": 3,
        "reasons": {"decoder_crashed": 1, "decoder_timeout": 1, "decoder_out_of_memory": 1},
    }
    reasons = {row["utterance_id"]: row["reject_reason"] for row in read_rows(run)}
    assert reasons["memory#0"] == "decoder_out_of_memory"
    assert reasons["hang#0"] == "decoder_timeout" and reasons["segfault#0"] == "decoder_crashed"
