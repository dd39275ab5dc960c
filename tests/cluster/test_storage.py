import pyarrow as pa
import pytest

from cluster import storage
from cluster.failures import UserError


def test_a_file_is_written_whole_and_leaves_nothing_beside_it(tmp_path):
    uri = str(tmp_path / "deep" / "a.bin")
    storage.write_bytes(uri, b"first")
    storage.write_bytes(uri, b"second")
    assert storage.read_bytes(uri) == b"second"
    assert [file.uri for file in storage.list_files(str(tmp_path))] == [uri]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    with pytest.raises(UserError, match="cannot write it"):
        storage.write_bytes(str(folder), b"a file cannot replace a folder")
    assert list(tmp_path.iterdir()) == [folder]


def test_listing_finds_suffixes_in_any_case_sorted(tmp_path):
    for name in ("b.MP4", "sub/a.mp4", "c.txt"):
        storage.write_bytes(str(tmp_path / name), b"x")
    found = storage.list_files(str(tmp_path), (".mp4",))
    assert [file.uri for file in found] == [str(tmp_path / "b.MP4"), str(tmp_path / "sub" / "a.mp4")]
    assert [file.size for file in found] == [1, 1]


def test_what_a_killed_write_left_is_no_content(tmp_path):
    (tmp_path / ".part.parquet.0a1b2c3d.partial").write_bytes(b"half")
    assert storage.list_files(str(tmp_path)) == []


def test_a_name_that_is_no_text_is_left_out_with_a_warning(tmp_path, caplog):
    (tmp_path / "good.mp4").write_bytes(b"x")
    try:
        open(bytes(tmp_path) + b"/caf\xe9.mp4", "wb").close()
    except OSError:
        pytest.skip("this file system refuses such names")
    assert [file.uri for file in storage.list_files(str(tmp_path))] == [str(tmp_path / "good.mp4")]
    assert "not UTF-8" in caplog.text


def test_file_scheme_and_plain_path_are_the_same(tmp_path):
    storage.write_json(f"file://{tmp_path}/a.json", {"a": 1})
    assert storage.read_json(str(tmp_path / "a.json")) == {"a": 1}


@pytest.mark.parametrize("call", [storage.read_bytes, storage.read_table, storage.list_files])
def test_what_is_missing_is_named_with_the_next_step(tmp_path, call):
    with pytest.raises(UserError, match=r"nowhere.*check the path"):
        call(str(tmp_path / "nowhere"))


def test_unknown_scheme_is_refused():
    with pytest.raises(UserError, match="gopher://x.*s3://"):
        storage.read_bytes("gopher://x/y")


def test_a_file_that_is_not_parquet_is_named(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(UserError, match="a.parquet: not a readable parquet"):
        storage.read_table(str(tmp_path / "a.parquet"))


def test_tables_round_trip_with_their_metadata(tmp_path):
    table = pa.table({"a": [1, 2]}).replace_schema_metadata({"emovox.schema_version": "1"})
    storage.write_table(str(tmp_path / "t.parquet"), table)
    assert storage.read_table(str(tmp_path / "t.parquet")).equals(table, check_metadata=True)
