"""Lists the user's media files below a folder, without the files that operating systems and programs add."""

import logging
from collections import Counter
from pathlib import PurePosixPath

from cluster import storage

SYSTEM_FOLDERS = frozenset(
    "__macosx|$recycle.bin|#recycle|@recycle|#snapshot|@eadir|lost+found|system volume information".split("|")
)
"""In lower case: what macOS puts into archives, and recycle bins, thumbnails and snapshots of Windows and network disks."""

log = logging.getLogger(__name__)


def list_media(folder_uri: str, suffixes: tuple[str, ...]) -> list[storage.StoredFile]:
    """As `storage.list_files`. How many files have other endings goes to the log.

    Hidden files and folders are left out, and counted in the log with an example: a copy from macOS has `._x.mp4` beside each
    `x.mp4`, with a few kilobytes of something else in it.
    """
    prefix = storage.absolute(folder_uri)
    hidden: list[str] = []

    def is_left_out(uri: str) -> bool:
        if not is_hidden(uri.removeprefix(prefix)):
            return False
        hidden.append(uri)
        return True

    files: list[storage.StoredFile] = []
    others: Counter[str] = Counter()
    for file in storage.list_files(prefix, (), is_left_out):
        if file.uri.lower().endswith(suffixes):
            files.append(file)
        else:
            others[PurePosixPath(file.uri).suffix.lower() or "no ending"] += 1
    if others:
        told = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        log.info("%s: %d files with other endings are left out (%s)", folder_uri, others.total(), told)
    if hidden:
        log.warning(
            "%s: %d hidden files and folders are left out (names that begin with a dot, folders that systems make for "
            "themselves), such as %s",
            folder_uri,
            len(hidden),
            hidden[0],
        )
    return files


def is_hidden(path: str) -> bool:
    """path: relative to the given folder, because the folders above it do not matter."""
    return any(name.startswith(".") or name.lower() in SYSTEM_FOLDERS for name in path.split("/") if name)
