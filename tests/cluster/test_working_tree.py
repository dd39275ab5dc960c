"""What this checkout tells of itself, and how processes that we start find it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import working_tree
from cluster.failures import UserError
from cluster.working_tree import PROJECT_ROOT, checked_out_commit, python_path


def test_a_process_elsewhere_finds_this_project_before_anything_else(tmp_path):
    (tmp_path / "cluster.py").write_text("raise RuntimeError('another cluster')")
    (tmp_path / "other.py").write_text("")
    program = "import cluster.working_tree, other; print(cluster.working_tree.PROJECT_ROOT)"
    environment = os.environ | {"PYTHONPATH": python_path("", str(tmp_path))}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(PROJECT_ROOT)


def git(folder, *words: str) -> str:
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", "-C", str(folder), *author, *words], capture_output=True, text=True, check=True
    ).stdout


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(working_tree, "PROJECT_ROOT", tmp_path)
    git(tmp_path, "init")
    (tmp_path / "a.txt").write_text("a")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-m", "a")
    return tmp_path


def test_the_commit_is_told_with_a_mark_where_files_differ(checkout):
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert checked_out_commit(40, "+changes") == commit
    (checkout / "a.txt").write_text("b")
    assert checked_out_commit(40, "+changes") == f"{commit}+changes"
    assert re.fullmatch(f"{commit[:12]}-dirty", checked_out_commit(12, "-dirty"))


def test_outside_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(working_tree, "PROJECT_ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert checked_out_commit(40, "+changes") is None


KEYS = [
    "id_rsa",
    ".kube/config",
    ".netrc",
    ".envrc",
    "prod.env",
    ".env.local",
    "credentials.json",
    "aws/credentials",
    "token.txt",
    "conf/Secrets.yaml",
    "ssl/server.key",
    "me_accessKeys.csv",
    "terraform.tfstate",
]


def shipped() -> list[str]:
    folder = Path(working_tree.working_tree()["working_dir"])
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def put(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def test_only_what_git_tracks_travels_as_it_is_now(checkout, caplog):
    put(checkout, ["pyproject.toml", "cluster/token.py", *KEYS, "notes.txt"])
    git(checkout, "add", "pyproject.toml", "cluster/token.py")
    (checkout / "a.txt").write_text("changed")
    assert shipped() == ["a.txt", "cluster/token.py", "pyproject.toml"]
    assert (Path(working_tree.working_tree()["working_dir"]) / "a.txt").read_text() == "changed"
    assert "not tracked by git, and stay here" in caplog.text


def test_keys_that_were_committed_stay_here_and_are_told(checkout, caplog):
    put(checkout, ["pyproject.toml", *KEYS])
    git(checkout, "add", "--force", ".")
    assert shipped() == ["a.txt", "pyproject.toml"]
    assert f"{len(KEYS)} files of {checkout} hold keys by their names, and stay here" in caplog.text


def test_a_tree_without_git_travels_without_keys_and_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(working_tree, "PROJECT_ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    put(tmp_path, ["pyproject.toml", "cluster/a.py", ".venv/b.py", "runs/c.txt", *KEYS])
    assert shipped() == ["cluster/a.py", "pyproject.toml"]


def test_a_checkout_of_which_git_says_nothing_does_not_travel(tmp_path, monkeypatch):
    monkeypatch.setattr(working_tree, "PROJECT_ROOT", tmp_path)
    put(tmp_path, ["pyproject.toml", ".git/HEAD"])
    with pytest.raises(UserError, match="git does not say which files"):
        working_tree.working_tree()


def test_a_link_that_leads_out_of_the_tree_does_not_travel(checkout, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "diary.txt"
    outside.write_text("x")
    put(checkout, ["pyproject.toml"])
    (checkout / "link.txt").symlink_to(outside)
    (checkout / "inner.txt").symlink_to("a.txt")
    git(checkout, "add", ".")
    assert shipped() == ["a.txt", "inner.txt", "pyproject.toml"]


def test_no_file_of_this_project_is_taken_for_a_key():
    names = git(PROJECT_ROOT, "ls-files").splitlines()
    assert names and not [name for name in names if working_tree.holds_keys(name)]
