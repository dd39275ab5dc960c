"""The labelling plan on a real embedded Ray: every utterance of the manifest ends as exactly one row."""

import dataclasses
import json

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from cluster.failures import UserError
from cluster.run_record import RunRecord
from modeling.emotions import EMOTIONS
from pipeline.assets.weights import detector_weights, teacher_weights
from pipeline.dataset import distillation_set
from pipeline.dataset.manifest import as_manifest
from pipeline.labelling.cropper import CropOptions
from pipeline.labelling.run import LabelPlan, LabelRun, label
from pipeline.schema import DISTILLATION_SCHEMA
from tests.support.label_rows import label_table, labelled_row, reject_row


def manifest_of(files: dict[str, str], utterances: int = 1) -> pa.Table:
    """utterance name -> file; each file gives `utterances` rows of one second, or one whole row."""
    rows = [
        (f"{name}#{k}", uri, float(k), None if utterances == 1 else k + 1.0)
        for name, uri in files.items()
        for k in range(utterances)
    ]
    ids, uris, starts, ends = zip(*rows, strict=True)
    columns = {"utterance_id": ids, "speaker_id": ids, "video_id": uris, "video_uri": uris, "audio_uri": uris}
    return as_manifest({**columns, "start_s": starts, "end_s": ends, "split": ["train"] * len(rows)}, "test")


def run_of(manifest: pa.Table, out, **crops) -> LabelRun:
    return LabelRun(
        manifest=manifest,
        labels_uri=str(out),
        teacher=teacher_weights("compact"),
        detector=detector_weights("mobilenet0.25"),
        crops=CropOptions(**crops),
    )


def labelled_by(run: LabelRun, **plan) -> dict:
    return label(run, LabelPlan(crop_workers=1, **plan), None, RunRecord("label", run.crops))


@pytest.mark.slow
def test_good_and_bad_files_each_end_as_one_row(ray_session, data_dir, tmp_path):
    video = data_dir / "video"
    files = {
        "happy": video / "labelled/MEAD_W036_level_3_happy_007.mp4",
        "no_sound": video / "labelled/EAMM_MEAD_contempt.mp4",
        "silent": video / "unlabelled/LivePortrait_driving_d18.mp4",
        "no_face": video / "odd/torchcodec_nasa_13013.mp4",
        "text": video / "derived/text_file.mp4",
        "empty": video / "derived/zero_byte.mp4",
        "cut": video / "derived/truncated_half_MEAD_M030_angry.mp4",
        "sound_only": video / "derived/audio_only_MEAD_W036_happy.mp4",
        "gone": video / "nowhere.mp4",
    }
    run = run_of(manifest_of({name: str(path) for name, path in files.items()}), tmp_path / "labels")
    counts = labelled_by(run)
    rows = {row["utterance_id"].split("#")[0]: row for row in read_rows(run)}
    assert {name: row["reject_reason"] for name, row in rows.items()} == {
        "happy": None,
        "no_sound": "no_audio_stream",
        "silent": "silent",
        "no_face": "no_face",
        "text": "not_a_video",
        "empty": "empty_file",
        "cut": "truncated",
        "sound_only": "no_video_stream",
        "gone": "file_not_found",
    }
    assert (counts["rows"], counts["labelled"], counts["rejected"]) == (9, 1, 8)
    assert sum(counts["reasons"].values()) == 8
    happy = rows["happy"]
    frames = len(happy["frame_indices"])
    assert frames == 13  # 3.04 s at 0.24 s
    assert np.array(happy["frame_logits"]).shape == (frames, 8)
    assert happy["logits"] == pytest.approx(np.max(happy["frame_logits"], axis=0))
    assert happy["teacher"] == run.teacher.fingerprint and happy["detector"] == run.detector.fingerprint
    assert (np.array(happy["frame_boxes"]) >= 0).all() and (np.array(happy["frame_boxes"]) <= 1).all()


@pytest.mark.slow
def test_a_teacher_in_processes_of_its_own_gives_the_same_set(ray_session, data_dir, tmp_path):
    video = data_dir / "video"
    files = {
        "happy": str(video / "labelled/MEAD_W036_level_3_happy_007.mp4"),
        "talk": str(video / "unlabelled/SadTalker_WDA_EdMarkey0_000.mp4"),
        "no_face": str(video / "odd/torchcodec_nasa_13013.mp4"),
    }
    sets = []
    for folder, plan in (("together", {}), ("apart", {"teacher_workers": 1})):
        run = run_of(manifest_of(files, 3), tmp_path / folder)
        counts = labelled_by(run, **plan)
        assert (counts["rows"], counts["labelled"]) == (9, 6)
        sets.append({row["utterance_id"]: row for row in read_rows(run)})
    together, apart = sets
    seconds = ("decode_s", "detect_s", "teacher_s")
    for name, row in together.items():
        assert {k: v for k, v in row.items() if k not in seconds} == {
            k: v for k, v in apart[name].items() if k not in seconds
        }


@pytest.mark.slow
def test_a_second_run_labels_only_what_is_missing_and_another_teacher_is_refused(ray_session, data_dir, tmp_path):
    clip = str(data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4")
    run = run_of(manifest_of({"a": clip, "b": clip}), tmp_path / "labels")
    first = labelled_by(run)
    parts = distillation_set.part_uris(run.labels_uri)
    (tmp_path / "labels" / "utterances" / parts[0].rsplit("/", 1)[1]).unlink()
    assert len(distillation_set.pending(run.manifest, run.labels_uri)) == 1
    before = {uri: distillation_set.storage.read_bytes(uri) for uri in distillation_set.part_uris(run.labels_uri)}
    assert labelled_by(run) == first
    after = distillation_set.part_uris(run.labels_uri)
    assert all(distillation_set.storage.read_bytes(uri) == data for uri, data in before.items()) and len(after) == len(
        parts
    )
    with pytest.raises(UserError, match="thumbnails was 8, now 3"):
        labelled_by(run_of(run.manifest, tmp_path / "labels", thumbnails=3))


@pytest.mark.slow
def test_a_teacher_from_elsewhere_labels_and_says_what_it_does_not_know(ray_session, data_dir, tmp_path):
    """Seven classes in another order as TorchScript: known rows of a linear network, contempt at -100 and named."""
    torch.manual_seed(0)
    linear = torch.nn.Linear(16 * 16, 7)
    torch.jit.script(torch.nn.Sequential(torch.nn.Flatten(), linear)).save(str(tmp_path / "seven.pt"))
    classes = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    description = {"side_px": 16, "colour": "grey", "scale": 1 / 255, "classes": classes, "crop_scale": 0.9}
    (tmp_path / "seven.json").write_text(json.dumps(description))
    clip = str(data_dir / "video/labelled/MEAD_W036_level_3_happy_007.mp4")
    run = dataclasses.replace(
        run_of(manifest_of({"a": clip}), tmp_path / "labels"), teacher=teacher_weights(str(tmp_path / "seven.pt"))
    )
    assert labelled_by(run)["labelled"] == 1
    [row] = read_rows(run)
    logits_NE = np.array(row["frame_logits"])
    assert row["teacher_masks"] == ["contempt"] and row["teacher"] == run.teacher.fingerprint
    assert (logits_NE[:, EMOTIONS.index("contempt")] == -100).all() and row["emotion"] != "contempt"
    assert np.abs(logits_NE[:, :7]).max() < 10
    changed = {**description, "crop_scale": 1.0}  # the same weights, other crops: other labels
    (tmp_path / "seven.json").write_text(json.dumps(changed))
    with pytest.raises(UserError, match="teacher_crops was"):
        labelled_by(dataclasses.replace(run, teacher=teacher_weights(str(tmp_path / "seven.pt"))))


def read_rows(run: LabelRun) -> list[dict]:
    return distillation_set.read_labels(run.labels_uri, DISTILLATION_SCHEMA.names).to_pylist()


@pytest.fixture
def written(tmp_path):
    """A set of two parts with three labelled rows and one reject."""
    rows = [
        labelled_row("s1/a"),
        labelled_row("s1/b", "happiness", "heard"),
        labelled_row("s2/a"),
        reject_row("s2/b", "no_face"),
    ]
    for part in (rows[:2], rows[2:]):
        distillation_set.write_part(str(tmp_path), label_table(part))
    return tmp_path, rows


def test_pandas_and_duckdb_read_the_set_without_ray(written):
    folder, _ = written
    frame = pd.read_parquet(folder / "utterances")
    assert sorted(frame["utterance_id"]) == ["s1/a", "s1/b", "s2/a", "s2/b"]
    labelled = duckdb.sql(f"SELECT * FROM '{folder}/utterances/*.parquet' WHERE reject_reason IS NULL")
    counts = labelled.aggregate("emotion, count(*), max(len(frame_logits[1]))").order("emotion")
    assert counts.fetchall() == [("happiness", 1, 8), ("neutral", 2, 8)]


def test_writing_a_part_again_replaces_it(written):
    folder, rows = written
    distillation_set.write_part(str(folder), label_table(rows[:2][::-1]))
    assert len(distillation_set.part_uris(str(folder))) == 2


def test_rows_that_a_late_write_doubled_are_taken_out(written):
    folder, rows = written
    distillation_set.write_part(str(folder), label_table(rows))  # both parts merged, as other blocks would be
    manifest = manifest_of({row["utterance_id"]: row["video_uri"] for row in rows})
    manifest = manifest.set_column(0, manifest.schema.field(0), [[row["utterance_id"] for row in rows]])
    distillation_set.drop_doubles(manifest, str(folder))
    assert distillation_set.audit(manifest, str(folder))["rows"] == 4


def test_the_audit_counts_all_and_notices_a_lost_or_doubled_utterance(written):
    folder, rows = written
    manifest = pa.table({"utterance_id": [row["utterance_id"] for row in rows]})
    assert distillation_set.audit(manifest, str(folder)) == {
        "rows": 4,
        "labelled": 3,
        "rejected": 1,
        "reasons": {"no_face": 1},
    }
    with pytest.raises(RuntimeError, match="1 utterances lost .*s9/z"):
        distillation_set.audit(pa.table({"utterance_id": [*manifest["utterance_id"].to_pylist(), "s9/z"]}), str(folder))
    distillation_set.write_part(str(folder), label_table(rows[:1]))
    with pytest.raises(RuntimeError, match="1 doubled .*s1/a"):
        distillation_set.audit(manifest, str(folder))


def test_a_set_of_another_version_is_refused(written):
    folder, rows = written
    other = label_table(rows[:1]).replace_schema_metadata({"emovox.schema_version": "0"})
    distillation_set.write_part(str(folder), other)
    with pytest.raises(UserError, match="schema version 0, this program reads 1"):
        distillation_set.read_labels(str(folder), ["utterance_id"])
