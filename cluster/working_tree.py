"""This checkout as it travels to a cluster: what goes and what stays here."""

import logging
import subprocess
from pathlib import Path

PROJECT_ROOT = Path(__file__).parents[1]

EXCLUDES = [".git", ".venv", "runs", "*.egg-info", "__pycache__", ".env", ".env.*", "*.pem", "*.key", ".aws"]
"""Left out of the package, beside what `.gitignore` names: a person's environments and keys are nobody else's."""

LARGEST_SHOWN = 3
LARGE_BYTES = 2**20

log = logging.getLogger(__name__)


def working_tree() -> dict:
    """Runtime environment that ships this checkout; {} for an installed package, which must be installed there too."""
    if (PROJECT_ROOT / "pyproject.toml").exists():
        return {"working_dir": str(PROJECT_ROOT), "excludes": EXCLUDES}
    log.warning("there is no checkout here to pack: the job runs the emovox that is installed on the cluster")
    return {}


def largest_files() -> str:
    """The largest files that would travel, of a MiB or more, with their sizes; "" without git. Ray goes by
    `.gitignore` and no other list."""
    command = [
        "git",
        "-C",
        str(PROJECT_ROOT),
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-per-directory=.gitignore",
    ]
    command += [f"--exclude={name}" for name in EXCLUDES]
    try:
        listed = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return ""
    sizes = {
        name: (PROJECT_ROOT / name).stat().st_size for name in listed.split("\0") if (PROJECT_ROOT / name).is_file()
    }
    largest = sorted(sizes, key=sizes.get, reverse=True)[:LARGEST_SHOWN]
    return ", ".join(f"{name} ({sizes[name] / 2**20:.0f} MiB)" for name in largest if sizes[name] >= LARGE_BYTES)
