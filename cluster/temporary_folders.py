"""Folders for copies of files, which go with the process that made them, also where that is killed."""

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
"""Each host cleans up for itself: where several share a TMPDIR, a lock may be seen on one of them only."""

YOUNG_S = 60.0
"""A folder of this age may be one that its process has not locked yet."""


@contextlib.contextmanager
def temporary_folder() -> Generator[str]:
    """A new folder below TMPDIR, removed at the end of the block. The first of a process removes what killed ones left."""
    remove_left_behind()
    with (
        tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder,
        contextlib.ExitStack() as lock,
    ):
        with contextlib.suppress(OSError):  # a file system without locks, where then nothing is removed
            lock.enter_context(_locked(folder))
        yield folder


@contextlib.contextmanager
def _locked(folder: str | Path) -> Generator[None]:
    """Locks the folder while its process lives, which the kernel knows in whatever container it is. Raises
    BlockingIOError if a living process has locked it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@functools.cache
def remove_left_behind() -> None:
    """Folders of processes that are no more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it is in use, another's, or gone meanwhile
            if time.time() - folder.stat().st_mtime > YOUNG_S:
                with _locked(folder):
                    shutil.rmtree(folder, ignore_errors=True)
