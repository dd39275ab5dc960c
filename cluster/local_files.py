"""This machine's file system, as `cluster/storage.py` uses it. Errors are plain OSErrors."""

import contextlib
import errno
import logging
import os
import stat
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

SHOWN_BYTES = 100
"""Of a file's name in that of its part which is being written."""

USUAL_NAME_BYTES = 255

FOLLOW_LINKS = "EMOVOX_FOLLOW_LINKS"
"""Set to 1 in the environment: links that lead out of a listed folder are followed. A folder that somebody else packed may hold
links to files that are none of his."""

log = logging.getLogger(__name__)


def walk(folder: str, left_out: Callable[[str], bool] = lambda path: False) -> Iterator[tuple[str, int]]:
    """Path and size of the regular files below a folder, in no order.

    Left out with a warning: a link that leads out of the folder, unless FOLLOW_LINKS is set; a name that is not UTF-8, which
    cannot be kept in a table; a link to nothing; a pipe or device, which may be read without an end. A link to a folder is
    followed once, and not where it leads to what is listed anyway. Folders that are `left_out` are not looked into.
    """
    if not os.path.isdir(folder):
        raise NotADirectoryError(folder) if os.path.exists(folder) else FileNotFoundError(folder)
    links = _Links(folder)
    for inner, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        below = [name for name in sorted(folders) if not left_out(os.path.join(inner, name))]
        folders[:] = [name for name in below if links.is_to_be_walked(os.path.join(inner, name))]
        for name in sorted(names):
            full = os.path.join(inner, name)
            if (size := _regular_size(full, links)) is not None:
                yield full, size
    links.tell()


class _Links:
    """The links below a folder: which are followed, and what is said of the rest."""

    def __init__(self, folder: str):
        self.folder, self.root = folder, os.path.realpath(folder)
        self.follows_out = os.environ.get(FOLLOW_LINKS) == "1"
        self.followed = set[str]()
        self.led_out: list[str] = []

    def leads_out(self, link: str) -> bool:
        """Whether it is left out for that; such links are counted."""
        if self.follows_out or _is_within(os.path.realpath(link), self.root):
            return False
        self.led_out.append(link)
        return True

    def is_to_be_walked(self, folder: str) -> bool:
        if not os.path.islink(folder):
            return True
        target = os.path.realpath(folder)
        if any(_is_within(target, place) or _is_within(place, target) for place in (self.root, *self.followed)):
            log.warning(
                "%s is left out: the link leads to %s, which is listed by itself or holds the link", folder, target
            )
            return False
        if self.leads_out(folder):
            return False
        self.followed.add(target)
        return True

    def tell(self) -> None:
        if self.led_out:
            log.warning(
                "%s: %d links that lead out of the folder are left out, such as %s to %s; set %s=1 to follow them",
                self.folder,
                len(self.led_out),
                self.led_out[0],
                os.path.realpath(self.led_out[0]),
                FOLLOW_LINKS,
            )


def _is_within(path: str, folder: str) -> bool:
    return os.path.commonpath([path, folder]) == folder


def _regular_size(path: str, links: _Links) -> int | None:
    """In bytes; None, with a warning, for what is left out."""
    try:
        path.encode()
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            status = os.stat(path)
            if links.leads_out(path):
                return None
    except UnicodeEncodeError:
        log.warning("%r is left out: its name is not UTF-8; rename it", os.fsencode(path))
        return None
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG):
            raise
        log.warning("%s is left out: it is a link to nothing, or gone", path)
        return None
    if not stat.S_ISREG(status.st_mode):
        log.warning("%s is left out: it is a pipe, a socket or a device, and no file", path)
        return None
    return status.st_size


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
    shown = os.fsencode(name)[:SHOWN_BYTES].decode(errors="ignore")  # a long name leaves no room for an ending
    aside = Path(folder, f".{shown}.{uuid.uuid4().hex[:8]}{partial}")  # readers of tables skip a leading dot
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


def longest_name_bytes(folder: str) -> int:
    """What a file's name may have below a folder, which need not be there yet."""
    path = Path(folder)
    there = next(above for above in (path, *path.parents) if above.exists())
    try:
        return os.pathconf(there, "PC_NAME_MAX")
    except (OSError, ValueError):
        return USUAL_NAME_BYTES
