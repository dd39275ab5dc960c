"""The media files below a folder, as people mean them: without those that systems and programs keep beside them."""

import logging

from cluster import storage

SYSTEM_FOLDERS = frozenset(
    "__macosx|$recycle.bin|#recycle|@recycle|#snapshot|@eadir|lost+found|system volume information".split("|")
)
"""In lower case: what macOS puts into archives, bins of Windows and of network disks, their thumbnails and snapshots."""

log = logging.getLogger(__name__)


def list_media(folder_uri: str, suffixes: tuple[str, ...]) -> list[storage.StoredFile]:
    """As `storage.list_files`. Hidden files and folders are left out, and counted in the log with an example: a copy from macOS
    has `._x.mp4` beside each `x.mp4`, with a few kilobytes of something else in it."""
    prefix = storage.absolute(folder_uri)
    hidden: list[str] = []

    def is_left_out(uri: str) -> bool:
        if not is_hidden(uri.removeprefix(prefix)):
            return False
        hidden.append(uri)
        return True

    files = storage.list_files(prefix, suffixes, is_left_out)
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
    """Of a path below the folder that was given: what stands above is no business of the listing."""
    return any(name.startswith(".") or name.lower() in SYSTEM_FOLDERS for name in path.split("/") if name)
