"""The file system of this machine, as `cluster/storage.py` uses it; errors are plain OSErrors."""

import contextlib
import errno
import logging
import os
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path

log = logging.getLogger(__name__)


def walk(folder: str) -> Iterator[tuple[str, int]]:
    """Path and size of the files below a folder. A name that is not UTF-8 cannot be kept in a table: it is left out,
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
    """A folder that cannot be listed is no empty one; one that has just gone is."""
    if not isinstance(error, FileNotFoundError):
        raise error


def write_whole(path: str, data: bytes, partial: str) -> None:
    """Written aside, with the ending `partial`, and renamed: readers see the old file or the new one."""
    with _aside(path, data, partial) as aside:
        os.replace(aside, path)


def create_whole(path: str, data: bytes, partial: str) -> bool:
    """As `write_whole`; where a file is there already it stays, and False is returned."""
    with _aside(path, data, partial) as aside:
        try:
            os.link(aside, path)  # fails where one is there, and is never half there
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            os.replace(aside, path)
    return True


@contextlib.contextmanager
def _aside(path: str, data: bytes, partial: str) -> Generator[Path]:
    """The data in a file beside `path`, which is gone at the end of the block."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    folder, name = os.path.split(path)
    aside = Path(folder, f".{name}.{uuid.uuid4().hex[:8]}{partial}")  # readers of tables skip a leading dot
    try:
        aside.write_bytes(data)
        yield aside
    finally:
        aside.unlink(missing_ok=True)


def require_writable(folder: str) -> None:
    """Raises OSError if no file can be written below a folder, which need not be there yet and is not made."""
    path = Path(folder)
    there = next(above for above in (path, *path.parents) if above.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
