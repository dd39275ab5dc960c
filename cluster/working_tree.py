"""What of this checkout is sent to a cluster, and what is not."""

import atexit
import contextlib
import fnmatch
import logging
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cluster.failures import UserError
from cluster.temporary_folders import temporary_folder

PROJECT_ROOT = Path(__file__).parents[1]

NO_PART_OF_IT = (
    ".git",
    ".venv",
    "venv",
    "runs",
    "*.egg-info",
    "__pycache__",
    "node_modules",
    ".pytest_cache",
    ".ruff_cache",
)
"""Of a tree without git, which could say: what lies beside the code."""

SECRETS = tuple(
    """
    .env .env.* *.env .envrc .netrc _netrc .pgpass .git-credentials .npmrc .pypirc .htpasswd .vault-token .boto .s3cfg
    .aws .ssh .gnupg .kube .docker .dockercfg .azure .gcloud .config .oci kubeconfig*
    id_rsa* id_dsa* id_ecdsa* id_ed25519*
    *.pem *.key *.p12 *.pfx *.p8 *.jks *.keystore *.kdbx *.ppk *.gpg *.asc *.ovpn
    credentials credentials.* *credentials*.json *credentials*.csv *accesskeys*.csv
    client_secret* service-account* service_account* *.tfstate* *.tfvars
    token token.* tokens tokens.* *.token secret secret.* secrets secrets.* *.secret password* passwords*
    """.split()
)
"""Names of files and folders, in lower case, that hold keys as a rule. They stay here even where git tracks them, but for
Python's own files."""

LARGEST_SHOWN = 3
LARGE_BYTES = 2**20

log = logging.getLogger(__name__)


def is_checkout() -> bool:
    """False for an installed package."""
    return (PROJECT_ROOT / "pyproject.toml").exists()


def working_tree() -> dict[str, Any]:
    """Runtime environment that sends this checkout; {} for an installed package, which the cluster must have too.

    It sends a copy of the files that git tracks, as they are now. The copy is deleted when this process ends. Raises
    UserError if git does not answer.
    """
    if not is_checkout():
        log.warning("there is no checkout here to pack: the job runs the emovox that is installed on the cluster")
        return {}
    folder = contextlib.ExitStack()
    atexit.register(folder.close)
    copy = Path(folder.enter_context(temporary_folder()), "emovox")
    for name in travelling_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT_ROOT / name, copy / name)
    return {"working_dir": str(copy)}


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
        return os.fsdecode(subprocess.run(command, capture_output=True, check=True, timeout=30).stdout)
    except (OSError, subprocess.SubprocessError):
        return ""


def travelling_files() -> list[str]:
    """Paths below the root of the files that travel: those that git tracks, without keys; of a tree without git, all but keys and
    what is no part of it. Says what stays here."""
    tracked = _names(_git("ls-files", "-z", "--cached"))
    if not tracked and (PROJECT_ROOT / ".git").exists():
        raise UserError(
            f"{PROJECT_ROOT}: git does not say which files are the checkout's, and others may hold keys; see what `git -C "
            f"{PROJECT_ROOT} ls-files` answers"
        )
    files = [name for name in tracked or _walked() if _is_file_inside(name)]
    secret = [name for name in files if holds_keys(name)]
    _tell("hold keys by their names, and stay here", secret)
    if tracked:
        others = _names(_git("ls-files", "-z", "--others", "--exclude-standard"))
        _tell("are not tracked by git, and stay here (`git add` takes them along)", others)
    return sorted(set(files) - set(secret))


def _tell(what: str, names: list[str]) -> None:
    if names:
        shown = ", ".join(names[:LARGEST_SHOWN])
        log.warning(
            "%d files of %s %s: %s%s", len(names), PROJECT_ROOT, what, shown, ", ..." * (len(names) > LARGEST_SHOWN)
        )


def _names(listed: str) -> list[str]:
    return [name for name in listed.split("\0") if name]


def _walked() -> Iterator[str]:
    for inner, folders, names in os.walk(PROJECT_ROOT):
        folders[:] = [name for name in folders if not _is_like(name, NO_PART_OF_IT)]
        yield from (os.path.relpath(os.path.join(inner, name), PROJECT_ROOT) for name in names)


def _is_file_inside(name: str) -> bool:
    """A link that leads out of the tree is none."""
    path = PROJECT_ROOT / name
    return path.is_file() and path.resolve().is_relative_to(PROJECT_ROOT.resolve())


def holds_keys(name: str) -> bool:
    """Of a path below the root, whether its name or that of a folder above it is one of `SECRETS`."""
    *folders, file = name.lower().split("/")
    return any(_is_like(folder, SECRETS) for folder in folders) or (
        not file.endswith(".py") and _is_like(file, SECRETS)
    )


def _is_like(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def largest_files() -> str:
    """The largest files that travel, of a MiB or more, with their sizes; "" where there are none."""
    sizes = {name: (PROJECT_ROOT / name).stat().st_size for name in travelling_files()}
    largest = sorted(sizes, key=lambda name: sizes[name], reverse=True)[:LARGEST_SHOWN]
    return ", ".join(f"{name} ({sizes[name] / 2**20:.0f} MiB)" for name in largest if sizes[name] >= LARGE_BYTES)
