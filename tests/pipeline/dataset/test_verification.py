"""A set that somebody changed by hand: who reads what was changed says so and names the part, before it is learnt from."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.failures import UserError
from modeling.distillation.recipes import smoke
from modeling.emotions import EMOTIONS
from pipeline.dataset import distillation_set
from pipeline.dataset.distillation_set import close, write_part
from pipeline.dataset.manifest import as_manifest
from pipeline.dataset.part_file import write_part_file
from pipeline.dataset.verification import require_unchanged, verify_set
from pipeline.distillation.run import DistillRun, distill_student
from pipeline.evaluation.answers import scorable
from pipeline.schema import DISTILLATION_SCHEMA, MANIFEST_SCHEMA
from tests.support.label_rows import label_table, labelled_row, reject_row


@pytest.fixture
def rows() -> list[dict]:
    rows = [labelled_row(f"s{n % 5}/{n}", EMOTIONS[n % 3], seconds=1.5) for n in range(20)]
    return [
        *rows,
        *(labelled_row(f"v/{n}", EMOTIONS[n], "val", seconds=1.5) for n in range(3)),
        reject_row("s/r", "silent"),
    ]


def written(folder: Path, rows: list[dict]) -> Path:
    for part in range(4):
        write_part(str(folder), label_table(rows[part::4]))
    (folder / "identity.json").write_text('{"teacher": "compact@0"}')
    close(str(folder))
    return folder


@pytest.fixture
def labels(tmp_path, rows) -> Path:
    return written(tmp_path / "labels", rows)


def a_part(labels: Path) -> Path:
    return sorted((labels / "utterances").glob("part-*"))[1]


def rewritten(part: Path, column: str, change: Callable[[list], list]) -> None:
    """By pyarrow, as somebody does who means well: the file's own words stay."""
    table = pq.read_table(part)
    at = table.schema.get_field_index(column)
    values = pa.array(change(table[column].to_pylist()), table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), values), part, compression="zstd")


def distilled(labels: Path, out: Path, epochs: int = 1):
    recipe = dataclasses.replace(smoke(), epochs=epochs)
    return distill_student(DistillRun(labels_uri=str(labels), student_uri=str(out), recipe=recipe))


def manifest_of_rows(rows: list[dict]) -> pa.Table:
    names = [name for name in MANIFEST_SCHEMA.names if name in rows[0]]
    return as_manifest({name: [row[name] for row in rows] for name in names}, "test")


CHANGES = {
    "labels replaced": ("logits", lambda rows: [[9.0, *row[1:]] for row in rows]),
    "frame labels replaced": ("frame_logits", lambda rows: [[frame[::-1] for frame in row] for row in rows]),
    "two voices exchanged": ("speech_flac", lambda rows: [rows[1], rows[0], *rows[2:]]),
    "a length that lies": ("speech_samples", lambda rows: [row // 2 for row in rows]),
    "another split": ("split", lambda rows: ["train"] * len(rows)),
    "another speaker": ("speaker_id", lambda rows: ["me"] * len(rows)),
    "another place in time": ("frame_indices", lambda rows: [[k + 1 for k in row] for row in rows]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_student_does_not_learn_from_a_set_that_was_changed(labels, rows, tmp_path, what):
    column, change = CHANGES[what]
    part = a_part(labels) if what != "another split" else _part_with(labels, "v/0")
    rewritten(part, column, change)
    with pytest.raises(UserError, match=f"{part.name}: column {column} is not what was written"):
        distilled(labels, tmp_path / "student")
    with pytest.raises(UserError, match=f"1 of 4 parts .*{part.name}: column {column}"):
        verify_set(str(labels))
    with pytest.raises(UserError, match=f"{part.name}: column {column}"):
        require_unchanged(manifest_of_rows(rows), str(labels))


def _part_with(labels: Path, utterance: str) -> Path:
    parts = sorted((labels / "utterances").glob("part-*"))
    return next(part for part in parts if utterance in pq.read_table(part)["utterance_id"].to_pylist())


def test_what_is_no_label_is_noticed_by_verify(labels):
    rewritten(a_part(labels), "frame_boxes", lambda rows: [[[0.0, 0.0, 1.0, 1.0]] * len(row) for row in rows])
    with pytest.raises(UserError, match="column frame_boxes is not what was written"):
        verify_set(str(labels))


def test_a_missing_part_is_named_and_made_anew_by_the_run_that_goes_on(labels, rows, tmp_path, caplog):
    part = a_part(labels)
    lost = pq.read_table(part)
    part.unlink()
    for read in (lambda: distilled(labels, tmp_path / "s"), lambda: scorable(str(labels))):
        with pytest.raises(UserError, match=rf"{part.name} is missing \(1 of 4 parts\).*give the command"):
            read()
    with pytest.raises(UserError, match=f"{part.name}: missing"):
        verify_set(str(labels))
    manifest = manifest_of_rows(rows)
    require_unchanged(manifest, str(labels))
    assert f"{part.name} is missing (1 parts); they are made anew" in caplog.text
    assert len(distillation_set.pending(manifest, str(labels))) == len(lost)


def test_a_part_of_another_set_is_not_taken_for_its_own(labels, rows, tmp_path):
    other = written(tmp_path / "other", [row | {"emotion": "fear"} if "emotion" in row else row for row in rows])
    part = a_part(labels)
    part.write_bytes((other / "utterances" / part.name).read_bytes())
    for read in (
        lambda: distilled(labels, tmp_path / "s"),
        lambda: scorable(str(labels)),
        lambda: verify_set(str(labels)),
    ):
        with pytest.raises(UserError, match=f"{part.name}: it is another than"):
            read()


def test_a_part_that_was_put_in_is_refused_and_one_of_doubles_taken_out_by_the_run(labels, rows, tmp_path, caplog):
    write_part(str(labels), label_table([labelled_row("me/new")]))
    with pytest.raises(UserError, match="the set was written without it"):
        distilled(labels, tmp_path / "student")
    with pytest.raises(UserError, match="its utterance 'me/new' is not in the manifest"):
        require_unchanged(manifest_of_rows(rows), str(labels))
    _part_with(labels, "me/new").unlink()
    write_part(str(labels), label_table([rows[0] | {"emotion": "fear"}]))  # as a run that was thought dead may
    require_unchanged(manifest_of_rows(rows), str(labels))
    assert "the set was whole without it" in caplog.text and verify_set(str(labels)).rows == len(rows)


def test_a_part_that_is_no_parquet_any_more_is_named(labels):
    part = a_part(labels)
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(UserError, match=part.name):
        verify_set(str(labels))


def test_a_student_that_was_begun_does_not_go_on_with_other_voices_under_the_same_labels(rows, tmp_path):
    """Another set altogether, whole in itself: ids and utterance labels are the same, speech or frame labels are not."""
    student = tmp_path / "student"
    distilled(written(tmp_path / "one", rows), student)
    for column in ("speech_flac", "frame_logits"):
        changed = [dict(row) for row in rows]
        changed[0][column] = changed[1][column]
        other = written(tmp_path / column, changed)
        with pytest.raises(UserError, match="utterances was '20 of train and 3 of val, .*', now '20 of train"):
            distilled(other, student, epochs=1)


def test_the_same_labels_in_other_parts_with_other_seconds_of_work_are_the_same_set(labels, rows, tmp_path):
    distilled(labels, tmp_path / "student")
    other = tmp_path / "other"
    write_part(str(other), label_table([row | {"decode_s": 1.0, "teacher_s": 2.0} for row in rows]))
    (other / "identity.json").write_text('{"teacher": "compact@0"}')
    assert distilled(other, tmp_path / "student").utterances == 20


def test_a_part_that_is_labelled_again_after_the_set_was_whole_keeps_its_seal(labels, rows):
    write_part(str(labels), label_table([row | {"decode_s": 1.0} for row in rows[1::4]]))
    assert verify_set(str(labels)).parts == 4


def test_a_set_of_an_earlier_emovox_is_read_and_said_to_be_unchecked(labels, tmp_path, caplog):
    for part in (labels / "utterances").glob("part-*"):
        old = pq.read_table(part).drop_columns("content_sha256")
        pq.write_table(old.replace_schema_metadata({"emovox.schema_version": "1"}), part)
    (labels / "utterances" / "_parts.json").unlink()
    assert distilled(labels, tmp_path / "student").utterances == 20
    assert "4 of 4 parts were written without hashes" in caplog.text
    found = verify_set(str(labels))
    assert (found.parts, found.unchecked, found.recorded, found.rows) == (4, 4, False, 24)


def test_a_part_without_hashes_does_not_pass_for_one_that_had_them(labels):
    part = a_part(labels)
    pq.write_table(pq.read_table(part).replace_schema_metadata({"emovox.schema_version": "1"}), part)
    with pytest.raises(UserError, match=f"{part.name}: it is another than"):
        scorable(str(labels))


def test_a_record_that_is_none_is_one_line(labels):
    (labels / "utterances" / "_parts.json").write_text(json.dumps({"parts": {"part-1.parquet": 3}}))
    with pytest.raises(UserError, match=r"_parts.json: it is not the record"):
        scorable(str(labels))


def test_digests_hold_for_every_type_of_column_with_nulls_and_slices(tmp_path):
    rows = [labelled_row("s/a", thumbnails=[b"1", b"22"], teacher_masks=["contempt"], face_is_ambiguous=True)]
    rows += [
        reject_row("s/b", "silent"),
        labelled_row("s/c", face_tracks=[{"frame_indices": [1], "boxes": [[0.0] * 4], "scores": [1.0]}]),
    ]
    rows += [labelled_row("s/d", speech_flac=None, speech_samples=None, frame_logits=[[np.nan] * 8])]
    table = label_table(rows)
    for number, part in enumerate((table, table.slice(1, 2), pa.concat_tables([table.slice(2), table.slice(0, 1)]))):
        write_part_file(str(tmp_path / f"{number}.parquet"), part)
        read = distillation_set.read_part_file(str(tmp_path / f"{number}.parquet"), DISTILLATION_SCHEMA.names)
        assert read.table["utterance_id"].to_pylist() == part["utterance_id"].to_pylist()
        missing = [content is None for content in read.table["content_sha256"].to_pylist()]
        assert missing == [id in ("s/b", "s/d") for id in part["utterance_id"].to_pylist()]
