"""Folders for copies of files. They are removed when the process that made them ends, or later if it was killed."""

import contextlib
import fcntl
import functools
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

PREFIX = f"emovox-copy-{socket.gethostname()}-"
"""Each host removes only its own folders: if several share a TMPDIR, a lock may be visible on one of them only."""

YOUNG_S = 60.0
"""A folder younger than this may not be locked yet by the process that made it."""


@contextlib.contextmanager
def temporary_folder() -> Generator[str]:
    """A new folder below TMPDIR, removed at the end of the block. A process's first call also removes the folders that
    killed processes left."""
    remove_left_behind()
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as lock,
    ):
        with contextlib.suppress(OSError):  # the file system has no locks; then nothing is cleaned up
            lock.enter_context(_locked(folder))
        yield folder


@contextlib.contextmanager
def _locked(folder: str | Path) -> Generator[None]:
    """Locks the folder until the process ends; the kernel sees the lock from every container. Raises BlockingIOError if a
    living process holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@functools.cache
def remove_left_behind() -> None:
    """Removes the folders of processes that no longer exist."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # in use, owned by another user, or already gone
            if time.time() - folder.stat().st_mtime > YOUNG_S:
                with _locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)
