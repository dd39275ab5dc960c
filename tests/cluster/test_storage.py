import pickle
import subprocess
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pyarrow as pa
import pytest
import ray.exceptions

from cluster import storage, storage_patience
from cluster.command import JobOptions
from cluster.failures import StorageUnavailable, UserError, user_error_in
from cluster.run_record import RunRecord
from tests.support.small_disks import small_disk_at


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


def test_of_several_that_create_a_file_one_does(tmp_path):
    uri = str(tmp_path / "new" / "a.bin")

    def create(number: int) -> int | None:
        try:
            storage.create_bytes(uri, str(number).encode())
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        [winner] = [number for number in pool.map(create, range(32)) if number is not None]
    assert storage.read_bytes(uri) == str(winner).encode()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a.bin"]


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


@pytest.mark.parametrize(
    "name", ["n" * 238 + ".parquet", "n" * 242 + ".json", "é" * 119 + ".parquet", "n" * 246 + ".parquet"]
)
def test_a_long_name_is_written_or_refused_before_the_work(tmp_path, name):
    uri = str(tmp_path / name)
    record = RunRecord("index", JobOptions())
    if len(storage.record_name(name).encode()) > 255:
        with pytest.raises(UserError, match="too long .*give a shorter one"):
            storage.require_file_name(uri)
        return
    storage.require_file_name(uri)
    storage.write_bytes(uri, b"x")
    record.write_beside(uri)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, storage.record_name(name)])


def test_a_key_that_is_longer_than_s3_takes_is_refused(monkeypatch):
    monkeypatch.setattr(storage, "is_folder", lambda uri: False)  # no server is asked
    with pytest.raises(UserError, match="too long"):
        storage.require_file_name("s3://bucket/" + "k" * 1016 + ".parquet")


@pytest.mark.parametrize("form", ["file://{}", "FILE://{}", "file://localhost{}", "File:{}", "file://LOCALHOST{}"])
@pytest.mark.parametrize("name", ["a b.json", "100%.json", "a#b?c.json", "é+&.json", "%41.json"])
def test_a_file_uri_means_the_path_that_it_quotes(tmp_path, form, name):
    uri = form.format(quote(f"{tmp_path}/{name}"))
    storage.write_json(uri, {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert storage.is_local(uri) and storage.exists(uri) and storage.read_json(storage.absolute(uri)) == {"a": 1}


@pytest.mark.parametrize("uri", ["file://server/a.wav", "file://data/a.wav"])
def test_a_file_of_another_machine_is_refused(uri):
    with pytest.raises(UserError, match=r"another machine .*file:///PATH"):
        storage.read_bytes(uri)


@pytest.mark.parametrize(
    "uri", ["s3:/bucket/x.json", "S3:/bucket/x.json", "s3:bucket/x.json", "https:/a/x.json", "C:/x.json"]
)
def test_a_uri_that_lacks_a_slash_makes_no_folder_of_its_name(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    for use in (
        lambda: storage.write_json(uri, {}),
        lambda: storage.require_file_name(uri),
        lambda: storage.list_files(uri),
    ):
        with pytest.raises(UserError, match=r"neither a path nor a URI; write \w+://"):
            use()
    assert not list(tmp_path.iterdir())
    storage.write_json(f"./{uri}", {})
    assert storage.read_json(tmp_path / uri) == {}


@pytest.mark.parametrize("uri", ["S3://bucket/a", "s3://bucket/a", "S3://bucket/a/"])
def test_the_scheme_may_be_written_in_capitals(uri):
    assert not storage.is_local(uri) and storage.absolute(uri) == "s3://bucket/a"


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


def test_a_place_that_cannot_be_written_is_found_before_any_work(tmp_path):
    storage.require_writable(str(tmp_path / "not" / "made" / "yet"))
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="file: cannot write there, a file stands where a folder is meant"):
        storage.require_writable(str(tmp_path / "file"))
    with pytest.raises(UserError, match="is a folder; give the name of the file"):
        storage.require_file_name(str(tmp_path))


@pytest.fixture
def small_disk(tmp_path):
    with small_disk_at(tmp_path / "disk", "64k") as disk:
        yield disk


def test_a_full_disk_and_one_that_is_read_only_are_named(small_disk):
    uri = str(small_disk / "a.bin")
    storage.write_bytes(uri, b"first")
    with pytest.raises(StorageUnavailable, match="a.bin: cannot write it, the disk is full; free room"):
        storage.write_bytes(uri, bytes(2**20))
    assert storage.read_bytes(uri) == b"first"
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match="disk.*Read-only"):
        storage.require_writable(str(small_disk))


def test_a_file_written_again_has_another_version(tmp_path):
    uri = str(tmp_path / "m.parquet")
    storage.write_bytes(uri, b"one")
    first = storage.version(uri)
    assert storage.version(uri) == first
    storage.write_bytes(uri, b"three")
    assert storage.version(uri) != first


@pytest.mark.parametrize("call", [storage.read_bytes, storage.exists, storage.require_writable, storage.version])
def test_credentials_in_a_uri_are_refused_and_not_repeated(call):
    with pytest.raises(UserError, match="s3://...@bucket/a: credentials in a URI") as caught:
        call("s3://key:secret@bucket/a")
    assert "secret" not in str(caught.value).replace("SECRET", "")


def test_the_first_look_is_shorter_than_later_patience(monkeypatch):
    monkeypatch.setattr(storage_patience, "_first_look", False)
    monkeypatch.setenv(storage_patience.VARIABLE, "100")
    storage_patience.expect_first_answer()
    assert storage_patience.patience_s() == storage_patience.FIRST_LOOK_S
    storage_patience.answered()
    assert storage_patience.patience_s() == 100
    monkeypatch.setenv(storage_patience.VARIABLE, "two minutes")
    with pytest.raises(UserError, match="EMOVOX_STORAGE_PATIENCE_S is 'two minutes'; give seconds"):
        storage_patience.patience_s()


def test_the_file_system_travels_to_workers_with_its_patience():
    fs, path = storage.resolve("s3://bucket/key")
    copy = pickle.loads(pickle.dumps(fs))
    assert (path, copy) == ("bucket/key", fs) and type(copy.handler.fs) is type(fs.handler.fs)


def test_a_users_error_is_found_behind_what_ray_makes_of_it():
    problem = StorageUnavailable("s3://bucket/a: away")
    wrapped = ray.exceptions.RayTaskError("f", "Traceback", problem).as_instanceof_cause()
    assert user_error_in(wrapped) is problem and str(user_error_in(wrapped)) == "s3://bucket/a: away"
    outer = RuntimeError("training failed")
    outer.__cause__ = wrapped
    assert user_error_in(outer) is problem
    assert user_error_in(RuntimeError("a bug")) is None and user_error_in(ValueError("a bug too")) is None
