"""The media files of a block of utterances, on this machine while the block is worked on."""

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Self

from cluster import storage
from cluster.failures import StorageUnavailable, UserError
from pipeline.rejects import Rejected, RejectReason

Copy = tuple[str, contextlib.ExitStack]
"""Path on this machine, and what deletes it."""


class SourceFiles:
    """Local paths of the files of a block. Each remote file is copied once, and the one that is wanted next is copied
    in the background while the present one is worked on.

    rows: the URIs that each row will ask for, in the order of asking. A copy goes when no later row wants it (the row
    before the one asked for may still be in the decoder), so that two rows' files and one more are on disk at most.
    Without `rows` nothing is copied ahead, and the copies go at the end of the `with` block.

    seconds, size_bytes: what the copying took, and how much it was.
    """

    def __init__(self, rows: Iterable[Sequence[str]] = ()):
        self.rows = [[uri for uri in row if not storage.is_local(uri)] for row in rows]
        self.last_row = {uri: number for number, row in enumerate(self.rows) for uri in row}
        self.order = iter(list(dict.fromkeys(uri for row in self.rows for uri in row)))
        self.row = 0
        self.copies: dict[str, Future[Copy]] = {}
        self.seconds, self.size_bytes = 0.0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Deletes the copies. One that is still being made is not waited for."""
        for uri in list(self.copies):
            self._drop(uri)

    def path(self, uri: str) -> str:
        """Where the file is. Raises Rejected for one that is missing or forbidden, and StorageUnavailable for a storage
        that serves nothing, which says nothing about the file."""
        if storage.is_local(uri):
            return storage.absolute(uri)
        self._advance(uri)
        if uri not in self.copies:
            self.copies[uri] = Future()
            self._copy(uri, self.copies[uri])
        elif not self.copies[uri].done():
            self.copies[uri].exception()  # waits
        self._copy_ahead()
        try:
            return self.copies[uri].result()[0]
        except StorageUnavailable:
            raise
        except UserError as problem:
            missing = isinstance(problem.__cause__, FileNotFoundError)
            reason = RejectReason.FILE_NOT_FOUND if missing else RejectReason.STORAGE_ERROR
            raise Rejected(reason, str(problem)) from problem

    def _advance(self, uri: str) -> None:
        """To the row that asks for the file; drops what only rows before the previous one wanted."""
        self.row = next((number for number in range(self.row, len(self.rows)) if uri in self.rows[number]), self.row)
        for done in [name for name in self.copies if self.last_row.get(name, self.row) < self.row - 1]:
            self._drop(done)

    def _copy_ahead(self) -> None:
        """Starts copying the next file that was not asked for yet, unless a copy is being made already."""
        if all(copy.done() for copy in self.copies.values()):
            ahead = next((uri for uri in self.order if uri not in self.copies and self.last_row[uri] >= self.row), None)
            if ahead is not None:
                self.copies[ahead] = Future()
                threading.Thread(target=self._copy, args=(ahead, self.copies[ahead]), daemon=True).start()

    def _copy(self, uri: str, copy: "Future[Copy]") -> None:
        stack = contextlib.ExitStack()
        start = time.perf_counter()
        try:
            path = stack.enter_context(storage.local_copy(uri))
            self.seconds += time.perf_counter() - start
            self.size_bytes += os.path.getsize(path)
            copy.set_result((path, stack))
        except BaseException as problem:  # noqa: BLE001 (whoever waits for the copy gets it)
            copy.set_exception(problem)

    def _drop(self, uri: str) -> None:
        """Deletes a copy, now or as soon as it has been made."""
        self.copies.pop(uri).add_done_callback(_delete)


def _delete(copy: "Future[Copy]") -> None:
    if copy.exception() is None:
        copy.result()[1].close()
