"""What of this checkout is sent to a cluster, and what is not."""

import logging
import os
import subprocess
from pathlib import Path
from typing import Any

PROJECT_ROOT = Path(__file__).parents[1]

EXCLUDES = [".git", ".venv", "runs", "*.egg-info", "__pycache__", ".env", ".env.*", "*.pem", "*.key", ".aws"]
"""Left out of the package in addition to what `.gitignore` names: virtual environments and keys are private."""

LARGEST_SHOWN = 3
LARGE_BYTES = 2**20

log = logging.getLogger(__name__)


def working_tree() -> dict[str, Any]:
    """Runtime environment that sends this checkout; {} for an installed package, which the cluster must have too."""
    if (PROJECT_ROOT / "pyproject.toml").exists():
        return {"working_dir": str(PROJECT_ROOT), "excludes": EXCLUDES}
    log.warning("there is no checkout here to pack: the job runs the emovox that is installed on the cluster")
    return {}


def python_path(*others: str) -> str:
    """PYTHONPATH for a process that we start: this project, then `others`, each one path or several joined by os.pathsep."""
    return os.pathsep.join(filter(None, [str(PROJECT_ROOT), *others]))


def checked_out_commit(digits: int, changed: str) -> str | None:
    """This checkout's commit, with `changed` appended if files differ from it; None without git or a checkout."""
    return _git("describe", "--always", f"--abbrev={digits}", f"--dirty={changed}").strip() or None


def _git(*words: str) -> str:
    """Output of a git command in this checkout; "" if it fails."""
    command = ["git", "-C", str(PROJECT_ROOT), *words]
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=30).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return ""


def largest_files() -> str:
    """The largest files that would be sent, those of a MiB or more, with their sizes; "" without git. Ray honours
    `.gitignore` and no other list of excludes."""
    excludes = [f"--exclude={name}" for name in EXCLUDES]
    listed = _git("ls-files", "-z", "--cached", "--others", "--exclude-per-directory=.gitignore", *excludes)
    paths = [PROJECT_ROOT / name for name in listed.split("\0")]
    sizes = {str(path.relative_to(PROJECT_ROOT)): path.stat().st_size for path in paths if path.is_file()}
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:LARGEST_SHOWN]
    return ", ".join(f"{name} ({sizes[name] / 2**20:.0f} MiB)" for name in largest if sizes[name] >= LARGE_BYTES)
