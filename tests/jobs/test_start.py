"""How a command starts: its help comes at once, because nothing heavy is imported before it is needed."""

import json
import subprocess
import sys

from jobs.__main__ import JOBS
from jobs.bench import BENCHES

HEAVY = ("torch", "torchvision", "torchaudio", "ray", "matplotlib", "sklearn", "scipy", "pandas", "cv2", "av")

HELP_OF_ALL = """
import contextlib, importlib, io, json, sys
heavy, found = json.loads(sys.argv[1]), {}
for words in json.loads(sys.argv[2]):
    job = importlib.import_module("jobs." + words[0].replace("-", "_"))
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        job.main([*words[1:], "--help"])
    assert said.getvalue().startswith("usage: emovox " + words[0]), words
    if brought := [name for name in heavy if name in sys.modules]:
        found[" ".join(words)] = brought
        break
print(json.dumps(found))
"""


def imported(*arguments: str) -> set[str]:
    """The top-level packages that a command imports, by Python's own account of it."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jobs", *arguments], capture_output=True, text=True, check=True
    )
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}


def test_no_job_imports_anything_heavy_for_its_help():
    commands = [[job] for job in JOBS] + [["bench", bench] for bench in BENCHES]
    done = subprocess.run(
        [sys.executable, "-c", HELP_OF_ALL, json.dumps(HEAVY), json.dumps(commands)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}


def test_help_from_the_command_line_imports_nothing_heavy():
    packages = imported("label", "--help")
    assert "pipeline" in packages
    assert not packages & set(HEAVY)


def test_the_list_of_jobs_needs_nothing_but_python():
    packages = imported("--help")
    assert "jobs" in packages
    assert not packages & {*HEAVY, "numpy", "pyarrow", "tyro"}
