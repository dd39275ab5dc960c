"""What a folder of this machine may hold besides files: links that lead in circles, pipes, and what has no content."""

import os
import socket

import pytest

from cluster import storage


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data" / "s1").mkdir(parents=True)
    (tmp_path / "data" / "s1" / "a.mp4").write_bytes(b"x")
    return tmp_path / "data"


def listed(folder) -> list[str]:
    return [file.uri.removeprefix(f"{folder}/") for file in storage.list_files(str(folder))]


@pytest.mark.parametrize("target", [".", "..", "../s1", "../..", "/"])
def test_a_link_that_leads_to_what_holds_it_is_not_followed(folder, target, caplog):
    (folder / "s1" / "again").symlink_to(target)
    assert listed(folder) == ["s1/a.mp4"]
    assert "s1/again is left out" in caplog.text


def test_links_that_lead_to_each_other_are_no_files(folder):
    (folder / "x.mp4").symlink_to("y.mp4")
    (folder / "y.mp4").symlink_to("x.mp4")
    (folder / "self").symlink_to("self")
    assert listed(folder) == ["s1/a.mp4"]


@pytest.fixture
def follow_links(monkeypatch):
    monkeypatch.setenv("EMOVOX_FOLLOW_LINKS", "1")


def test_a_link_that_leads_out_is_not_followed_and_the_log_says_how_it_would_be(folder, tmp_path, caplog):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "b.mp4").write_bytes(b"x")
    (folder / "s2").symlink_to(tmp_path / "elsewhere")
    (folder / "s1" / "b.mp4").symlink_to("../../elsewhere/b.mp4")
    (folder / "s1" / "c.mp4").symlink_to("a.mp4")
    assert listed(folder) == ["s1/a.mp4", "s1/c.mp4"]
    assert f"{folder}: 2 links that lead out of the folder are left out" in caplog.text
    assert f"to {tmp_path}/elsewhere; set EMOVOX_FOLLOW_LINKS=1 to follow them" in caplog.text


def test_a_folder_that_is_given_by_a_link_is_listed(folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    assert listed(tmp_path / "link") == ["s1/a.mp4"]


def test_folders_outside_that_link_to_each_other_are_listed_once(folder, tmp_path, follow_links):
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.mp4").write_bytes(b"x")
        (tmp_path / name / "other").symlink_to(tmp_path / other)
        (folder / name).symlink_to(tmp_path / name)
    assert sorted(os.path.basename(name) for name in listed(folder)) == ["a.mp4", "one.mp4", "two.mp4"]


def test_a_folder_elsewhere_is_listed_under_its_links_name(folder, tmp_path, follow_links):
    (tmp_path / "disk2").mkdir()
    (tmp_path / "disk2" / "b.mp4").write_bytes(b"x")
    (folder / "s2").symlink_to(tmp_path / "disk2")
    (folder / "s1" / "c.mp4").symlink_to(tmp_path / "disk2" / "b.mp4")
    assert listed(folder) == ["s1/a.mp4", "s1/c.mp4", "s2/b.mp4"]


def test_a_pipe_or_a_socket_is_no_file(folder, caplog):
    os.mkfifo(folder / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(folder / "s.mp4"))
        assert listed(folder) == ["s1/a.mp4"]
    assert "pipe.mp4 is left out: it is a pipe" in caplog.text
