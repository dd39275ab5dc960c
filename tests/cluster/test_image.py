"""`cluster/deploy/Dockerfile` against what is in the repository. Nothing is built here."""

import re
import tomllib

from tests.support.commands import problem_of
from tests.support.deploy_files import DEPLOY, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def dockerfile() -> str:
    return (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")


def test_dockerfile_copies_what_is_there_and_what_dockerignore_lets_through():
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {word for line in re.findall(r"^COPY (.*)", dockerfile(), flags=re.M) for word in line.split()[:-1]}
    assert copied == let_through
    assert [name for name in copied if not (ROOT / name).exists()] == []
    packages = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {package.rstrip("*") for package in packages} <= copied


def test_dockerfile_installs_by_the_pins_and_runs_without_root():
    text = dockerfile()
    assert re.findall(r"^FROM (\S+)", text, flags=re.M) == ["python:3.11-slim"]
    (dependencies,) = re.findall(r"uv pip install .*--requirements pyproject.toml.*", text)
    assert "--constraint constraints.txt" in dependencies and "--override overrides.txt" in dependencies
    (ray,) = [need for need in PROJECT["project"]["dependencies"] if need.startswith("ray[")]
    assert "default" in ray.partition("[")[2].partition("]")[0].split(","), "the job server, which KubeRay submits to"
    assert re.findall(r"^USER (\S+)", text, flags=re.M) == ["emovox"] and "--uid 1000 emovox" in text
    assert re.search(r"emovox fetch --no-samples \|\|", text)
    assert problem_of(["fetch", "--no-samples"]) is None
