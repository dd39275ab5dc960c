"""The cache of fetched files (EMOVOX_CACHE, default ~/.cache/emovox): several people may share it, and a file in it that is not
what was fetched is not used."""

import hashlib
import logging
import os
from pathlib import Path

from cluster import local_files
from cluster.failures import UserError
from cluster.storage import PARTIAL

HASH_SUFFIX = ".sha256"

log = logging.getLogger(__name__)


def cache_folder() -> Path:
    return Path(os.environ.get("EMOVOX_CACHE", Path.home() / ".cache" / "emovox")).expanduser()


def keep(path: Path, data: bytes) -> None:
    """Writes a fetched file, whole or not at all, for everybody who may read the folder; beside it, its hash."""
    try:
        local_files.write_whole(str(path), data, PARTIAL)
        _write_hash(path, data)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({os.strerror(error.errno or 0)}); set EMOVOX_CACHE to a folder of your own, or change "
            "that one's rights"
        ) from error


def kept(path: Path, sha256: str | None = None) -> bytes | None:
    """The content of a file in the cache; None where it is not there, or is not what was fetched: then it has to be fetched anew.

    sha256: what the file must have, where that is known beforehand; else what was written beside it, and for a file without that,
    as an earlier emovox or another program left it, what it has at its first use. Raises UserError where it may not be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(
            f"{path}: the cached file cannot be read ({os.strerror(error.errno or 0)}); let its owner make it readable, or set "
            "EMOVOX_CACHE to a folder of your own"
        ) from error
    wanted = sha256 or _read_hash(path)
    if wanted is None:
        _try_write_hash(path, data)
    elif hashlib.sha256(data).hexdigest() != wanted:
        log.warning(
            "%s is not what was fetched any more (its sha256 is not %s...); it is fetched anew", path, wanted[:16]
        )
        return None
    return data


def forget(path: Path) -> None:
    for each in (path, _hash_path(path)):
        each.unlink(missing_ok=True)


def _hash_path(path: Path) -> Path:
    return path.with_name(path.name + HASH_SUFFIX)


def _read_hash(path: Path) -> str | None:
    try:
        return _hash_path(path).read_text().strip() or None
    except OSError:
        return None


def _write_hash(path: Path, data: bytes) -> None:
    digest = hashlib.sha256(data).hexdigest()
    local_files.write_whole(str(_hash_path(path)), f"{digest}\n".encode(), PARTIAL)


def _try_write_hash(path: Path, data: bytes) -> None:
    """Into a folder that may be somebody else's."""
    try:
        _write_hash(path, data)
    except OSError:
        log.info("%s: its hash cannot be written beside it", path)
