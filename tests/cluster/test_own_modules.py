"""A folder with modules that are called as ours: workers import ours, wherever Ray runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.working_tree import PROJECT_ROOT, python_path
from pipeline.dataset.distillation_set import close, write_part
from tests.support.label_rows import label_table, labelled_row
from tests.support.ray_head import TOKEN, ray_head

OURS = ("cluster", "modeling", "pipeline", "jobs")

PROGRAM = """
import sys, ray
from cluster.session import session
from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.dataset.set_record import name_of

def other(value):
    import mine
    return mine.answer(name_of(value))

with session(sys.argv[1] if len(sys.argv) > 1 else None):
    print(ray.get(ray.remote(name_of).remote("a/b")), ray.get(ray.remote(other).remote("a/c")) if len(sys.argv) < 2 else "")
"""


@pytest.fixture(params=["modules", "packages"])
def folder(request, tmp_path) -> Path:
    """Where somebody works who calls things as we do; `mine` is a module that workers are to find there."""
    folder = tmp_path / "work"
    for name in OURS:
        path = folder / (f"{name}.py" if request.param == "modules" else f"{name}/__init__.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"raise RuntimeError('another {name}')")
    (folder / "mine.py").write_text("def answer(value): return f'mine {value}'")
    return folder


def ran(folder: Path, *words: str, **variables: str) -> str:
    """Output of a Python program that is started in the folder, as the command `emovox` is: without it in its own path."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = bare | {"PYTHONPATH": python_path()} | variables
    done = subprocess.run(
        [sys.executable, "-P", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
def test_workers_of_an_embedded_session_import_ours_and_still_find_the_users_other_modules(folder):
    assert ran(folder, "-c", PROGRAM).split() == ["b", "mine", "c"]


def test_a_job_imports_ours_with_such_a_folder_on_the_path(folder):
    for name in ("jobs.py", "jobs/__init__.py"):  # what is started is found there or it is not ours at all
        (folder / name).unlink(missing_ok=True)
    paths = os.pathsep.join([str(folder), str(PROJECT_ROOT)])
    assert "verify" in ran(folder, "-m", "jobs", "--help", PYTHONPATH=paths)
    assert "--address" in ran(folder, "-m", "jobs.verify", "--help", PYTHONPATH=paths)


@pytest.mark.slow
def test_workers_of_a_cluster_import_ours(folder):
    with ray_head(cwd=folder, num_cpus=2) as head:
        assert ran(folder, "-c", PROGRAM, head.address, RAY_AUTH_TOKEN=TOKEN).split() == ["b"]


@pytest.mark.slow
def test_a_submitted_job_and_its_workers_import_ours(folder, tmp_path):
    labels = tmp_path / "labels"
    write_part(str(labels), label_table([labelled_row("s1/a", seconds=1.5)]))
    close(str(labels))
    with ray_head(cwd=folder, num_cpus=2) as head:
        words = ["-m", "jobs.submit", "--address", head.dashboard, "verify", str(labels)]
        paths = os.pathsep.join([str(PROJECT_ROOT), str(folder)])
        answer = ran(folder, *words, RAY_AUTH_TOKEN=TOKEN, PYTHONPATH=paths)
    assert json.loads(answer)["rows"] == 1
