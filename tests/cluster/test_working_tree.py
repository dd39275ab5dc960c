"""What this checkout tells of itself, and how processes that we start find it."""

import os
import re
import subprocess
import sys

import pytest

from cluster import working_tree
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
