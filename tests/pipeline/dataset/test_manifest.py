"""What a manifest may hold, and what a person reads when it may not."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.failures import UserError
from pipeline.dataset.manifest import manifest_fingerprint, read_manifest, write_manifest
from pipeline.schema import MANIFEST_SCHEMA

ROW = {
    "utterance_id": "id1/v/1",
    "speaker_id": "id1",
    "video_id": "v",
    "video_uri": "/d/v.mp4",
    "audio_uri": "/d/v.mp4",
    "start_s": 0.0,
    "split": "train",
}
BOX = {"time_s": 0.5, "x0": 1.0, "y0": 2.0, "x1": 11.0, "y1": 12.0}


def rows(*changes: dict) -> pa.Table:
    """One row for each dictionary: ROW with other ids, changed."""
    filled = [{**ROW, "utterance_id": f"id1/v/{i}", **change} for i, change in enumerate(changes)]
    names = dict.fromkeys(name for row in filled for name in row)
    return pa.table({name: [row.get(name) for row in filled] for name in names})


def test_a_manifest_is_read_as_it_was_written(tmp_path):
    boxes = {"face_boxes": [BOX], "face_boxes_unit": "pixels"}
    table = rows({"end_s": 8.0}, {"start_s": 8.0}, boxes, {"face_context": 1.6})
    uri = str(tmp_path / "new" / "manifest.parquet")
    write_manifest(table, uri)
    found = read_manifest(uri)
    assert found.schema.equals(MANIFEST_SCHEMA, check_metadata=True)
    assert found["end_s"].to_pylist() == [8.0, None, None, None]
    assert found["face_boxes"].to_pylist() == [None, None, [BOX], None]
    assert manifest_fingerprint(found) == manifest_fingerprint(read_manifest(uri))


def test_a_parquet_made_by_others_needs_only_the_required_columns(tmp_path):
    uri = str(tmp_path / "theirs.parquet")
    theirs = rows({"start_s": 3, "note": "extra"}).cast(
        pa.schema(
            [(name, pa.large_string()) for name in list(ROW)[:5]]
            + [("start_s", pa.int32()), ("split", pa.string()), ("note", pa.string())]
        )
    )
    pq.write_table(theirs.set_column(6, "split", theirs["split"].dictionary_encode()), uri)
    found = read_manifest(uri)
    assert found.column_names == MANIFEST_SCHEMA.names
    assert found["start_s"].to_pylist() == [3.0]
    assert found["end_s"].null_count == found["face_boxes"].null_count == 1


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (rows({}, {"utterance_id": "id1/v/0"}), ["'id1/v/0'", "2 rows"]),
        (rows({"split": "test"}), ["'test'", "train, val, heard, unheard"]),
        (rows({"start_s": 2.0, "end_s": 2.0}), ["end_s 2.0", "after start_s"]),
        (rows({"end_s": float("nan")}), ["end_s nan"]),
        (rows({"start_s": -1.0}), ["start_s -1.0"]),
        (rows({"start_s": None}, {}), ["start_s is empty in 1 rows"]),
        (rows({"face_context": 0.5}), ["face_context 0.5"]),
        (rows({"face_boxes": [BOX]}), ["face_boxes_unit None", "pixels or relative"]),
        (rows({"split": "unheard"}, {"split": "heard"}), ["'id1'", "'heard'", "'id1/v/1'"]),
        (rows({}).drop_columns(["split", "audio_uri"]), ["no column audio_uri, split", "emovox index"]),
        (rows({"start_s": "three"}), ["start_s holds string", "double"]),
        (rows({}).slice(0, 0), ["no rows"]),
    ],
)
def test_contradictions_are_refused_with_file_value_and_remedy(tmp_path, table, words):
    uri = str(tmp_path / "m.parquet")
    pq.write_table(table, uri)
    with pytest.raises(UserError) as refusal:
        read_manifest(uri)
    assert all(word in str(refusal.value) for word in [uri, *words]), refusal.value
    with pytest.raises(UserError):
        write_manifest(table, str(tmp_path / "copy.parquet"))
    assert not (tmp_path / "copy.parquet").exists()


def test_missing_and_foreign_files_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match="emovox index"):
        read_manifest(str(tmp_path / "none.parquet"))
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(UserError, match="not a readable parquet"):
        read_manifest(str(tmp_path / "text.parquet"))
    for metadata, words in (
        ({"emovox.table": "manifest", "emovox.schema_version": "9"}, "version 9, this program reads version 1"),
        ({"emovox.table": "distillation_set"}, "this is a distillation_set"),
    ):
        pq.write_table(rows({}).replace_schema_metadata(metadata), tmp_path / "other.parquet")
        with pytest.raises(UserError, match=words):
            read_manifest(str(tmp_path / "other.parquet"))


def test_fingerprint_follows_content_and_not_storage(tmp_path):
    unit = {"face_boxes_unit": "pixels"}
    table = rows({"end_s": 8.0, "face_boxes": [BOX, BOX], **unit}, {"face_boxes": [], **unit}, {})
    assert table.column_names[6:9] == ["split", "end_s", "face_boxes"]

    def fingerprint(table: pa.Table) -> str:
        write_manifest(table, str(tmp_path / "m.parquet"))
        return manifest_fingerprint(read_manifest(str(tmp_path / "m.parquet")))

    known = fingerprint(table)
    assert fingerprint(table.take([2, 0, 1])) == known
    assert fingerprint(pa.concat_tables([table.slice(1), table.slice(0, 1)])) == known
    changed = [
        table.set_column(0, "utterance_id", pa.array(["id1/v/0", "id1/v/1", "id1/v/2b"])),
        table.set_column(6, "split", pa.array(["train", "train", "val"])),
        table.set_column(7, "end_s", pa.array([8.0, None, 8.0])),
        table.set_column(8, "face_boxes", pa.array([[BOX], [BOX], None])),
        table.set_column(8, "face_boxes", pa.array([[BOX, BOX], None, None])),
        table.slice(0, 2),
    ]
    assert len({known, *map(fingerprint, changed)}) == 7
