"""This machine's file system, as `cluster/storage.py` uses it. Errors are plain OSErrors."""

import contextlib
import errno
import logging
import os
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

log = logging.getLogger(__name__)


def walk(folder: str) -> Iterator[tuple[str, int]]:
    """Path and size of each file below a folder. A table cannot hold a name that is not UTF-8, so such a file is left out
    with a warning."""
    if not os.path.isdir(folder):
        raise NotADirectoryError(folder) if os.path.exists(folder) else FileNotFoundError(folder)
    for inner, _, names in os.walk(folder, followlinks=True, onerror=_raise):
        for name in names:
            full = os.path.join(inner, name)
            try:
                full.encode()
                yield full, os.path.getsize(full)
            except UnicodeEncodeError:
                log.warning("%r is left out: its name is not UTF-8; rename it", os.fsencode(full))
            except FileNotFoundError:
                log.warning("%s is left out: it is a link to nothing", full)


def _raise(error: OSError) -> None:
    """Raises the error of a folder that cannot be listed, unless the folder has just been removed."""
    if not isinstance(error, FileNotFoundError):
        raise error


def write_whole(path: str, data: bytes, partial: str) -> None:
    """Writes to a temporary file, whose name ends in `partial`, and renames it: readers see the old file or the new one."""
    with _aside(path, data, partial) as aside:
        os.replace(aside, path)


def create_whole(path: str, data: bytes, partial: str) -> bool:
    """Like `write_whole`, but leaves an existing file as it is and returns False."""
    with _aside(path, data, partial) as aside:
        try:
            os.link(aside, path)  # atomic; fails if the file exists
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            os.replace(aside, path)
    return True


@contextlib.contextmanager
def _aside(path: str, data: bytes, partial: str) -> Generator[Path]:
    """A temporary file beside `path` that holds the data and is removed at the end of the block."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    folder, name = os.path.split(path)
    aside = Path(folder, f".{name}.{uuid.uuid4().hex[:8]}{partial}")  # readers of tables skip a leading dot
    try:
        aside.write_bytes(data)
        yield aside
    finally:
        aside.unlink(missing_ok=True)


def require_writable(folder: str) -> None:
    """Raises OSError if no file can be written below a folder. The folder need not exist and is not created."""
    path = Path(folder)
    there = next(above for above in (path, *path.parents) if above.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
