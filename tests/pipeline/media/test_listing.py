"""Which files below a folder are media that somebody meant."""

import pytest

from pipeline.corpora.read import read_corpus
from pipeline.indexing.layouts import build_manifest
from pipeline.media.listing import is_hidden
from pipeline.students.predict import media_files


@pytest.mark.parametrize(
    "path",
    [
        "._x.mp4",
        "s1/._x.mp4",
        "__MACOSX/s1/x.mp4",
        "s1/__MACOSX/._x.mp4",
        ".trash/x.mp4",
        ".Trash-1000/files/x.mp4",
        ".part.mp4",
        "s1/.git/x.mp4",
        "@eaDir/x.mp4/y.mp4",
        "$RECYCLE.BIN/S-1-5/x.mp4",
        "#recycle/x.mp4",
        "System Volume Information/x.mp4",
        "lost+found/x.mp4",
    ],
)
def test_what_systems_and_programs_keep_is_hidden(path):
    assert is_hidden(path)


@pytest.mark.parametrize("path", ["s1/x.mp4", "_x.mp4", "-dQw4w9.mp4", "a.b.mp4", "trash/x.mp4", "MACOSX/x.mp4"])
def test_other_names_are_not(path):
    assert not is_hidden(path)


@pytest.fixture
def copied_from_macos(tmp_path):
    """Five speakers of one video, each with its hidden neighbour, below a folder that is hidden itself."""
    folder = tmp_path / ".cache" / "videos"
    for speaker in range(5):
        for name in (
            f"s{speaker}/a.mp4",
            f"s{speaker}/._a.mp4",
            f"__MACOSX/s{speaker}/._a.mp4",
            f".trash/{speaker}.mp4",
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    return folder


def test_hidden_files_are_no_utterances_and_no_speakers(copied_from_macos, caplog):
    manifest = build_manifest(str(copied_from_macos), "clips").to_pylist()
    assert sorted(row["video_id"] for row in manifest) == [f"s{speaker}/a.mp4" for speaker in range(5)]
    assert "7 hidden files and folders are left out" in caplog.text


def test_predict_leaves_hidden_files_out_of_folders_and_takes_one_that_is_named(copied_from_macos):
    named = str(copied_from_macos / "s0" / "._a.mp4")
    assert len(media_files([str(copied_from_macos)])) == 5
    assert media_files([named]) == [named]


def test_a_corpus_is_read_without_hidden_files(tmp_path):
    for name in ("03wa.wav", "08fb.wav"):  # as EMO-DB is cut short here
        for stem in ("a01", "b02"):
            (tmp_path / f"{name[:2]}{stem}{'Fa' if stem == 'a01' else 'Wb'}.wav").touch()
            (tmp_path / f"._{name[:2]}{stem}Fa.wav").touch()
    assert not [clip for clip in read_corpus("emodb", str(tmp_path)) if "._" in clip.file]
