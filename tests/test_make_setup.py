"""Which Python `make` takes for its environment. The Pythons here are stand-ins that tell a version; nothing is installed."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def python(path: Path, version: str | None) -> None:
    """A Python that answers with its version, or fails as a shim of pyenv does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {version}\n" if version else "#!/bin/sh\nexit 127\n")
    path.chmod(0o755)


@pytest.fixture
def checkout(tmp_path):
    """With Python 3.11 and 3.12, and a 3.13 that does not run."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "overrides.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name, version in (("python3.11", "3.11.7"), ("python3.12", "3.12.1"), ("python3.13", None)):
        python(tmp_path / "bin" / name, version)
    return tmp_path


def setup(checkout: Path, *options: str, really: bool = False) -> subprocess.CompletedProcess:
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    environment = {
        name: value for name, value in os.environ.items() if name not in {"PYTHON", "MAKEFLAGS", "MAKELEVEL"}
    }
    command = ["make", *([] if really else ["--dry-run"]), "setup", *options]
    return subprocess.run(command, cwd=checkout, env=environment | {"PATH": path}, capture_output=True, text=True)


def set_up_by(checkout: Path, version: str) -> None:
    python(checkout / ".venv" / "bin" / "python", version)
    (checkout / ".venv" / "ready").touch()


def environment_made(run: subprocess.CompletedProcess) -> list[str]:
    return [line for line in run.stdout.splitlines() if " -m venv " in line]


def test_the_newest_python_that_runs_is_taken(checkout):
    assert environment_made(setup(checkout)) == ["python3.12 -m venv --clear .venv"]


def test_an_environment_stays_as_it_is_until_another_python_is_asked_for(checkout):
    set_up_by(checkout, "3.11.7")
    assert environment_made(setup(checkout)) == environment_made(setup(checkout, "PYTHON=python3.11")) == []
    assert environment_made(setup(checkout, "PYTHON=python3.12")) == ["python3.12 -m venv --clear .venv"]


def test_an_environment_whose_python_is_gone_is_made_anew(checkout):
    set_up_by(checkout, "3.11.7")
    (checkout / ".venv" / "bin" / "python").unlink()
    assert environment_made(setup(checkout)) == ["python3.12 -m venv --clear .venv"]


def test_a_python_that_does_not_run_is_named_and_nothing_is_touched(checkout):
    set_up_by(checkout, "3.11.7")
    refused = setup(checkout, "PYTHON=python3.13", really=True)
    assert refused.returncode != 0 and "setup: python3.13 does not run here" in refused.stderr
    assert (checkout / ".venv" / "ready").exists()


def test_make_and_the_package_name_the_same_pythons():
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    oldest, end = (tuple(int(part) for part in version.split(".")) for version in re.findall(r"[\d.]+", requires))
    makefile = (ROOT / "Makefile").read_text()
    assert f"{oldest} <= sys.version_info < {end}" in makefile
    supported = [f"python3.{minor}" for minor in range(end[1] - 1, oldest[1] - 1, -1)]
    assert " ".join(supported) in makefile


def test_each_version_is_fixed_once_for_all_pythons_and_without_an_address():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line)] == []
    assert len({line.partition("==")[0] for line in lines}) == len(lines)
