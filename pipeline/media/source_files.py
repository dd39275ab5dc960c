"""Local copies of the media files of a block of utterances, kept while the block is processed."""

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
"""Local path, and what deletes it."""


class SourceFiles:
    """Local paths of the files of a block. Each remote file is copied once; the next one is copied in the background while
    the current one is processed.

    rows: the URIs that each row will ask for, in order. A copy is deleted when no later row needs it (the row before the
    current one may still be in the decoder), so at most two rows' files and one more are on disk. Without `rows`, nothing
    is copied ahead, and all copies are deleted at the end of the `with` block.

    seconds, size_bytes: time spent copying, and bytes copied.
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
        """Deletes the copies, without waiting for one that is still being made."""
        for uri in list(self.copies):
            self._drop(uri)

    def path(self, uri: str) -> str:
        """The file's local path. Raises Rejected if the file is missing or forbidden, and StorageUnavailable if the storage
        serves nothing, which tells nothing about the file."""
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
        """Moves to the row that asks for the file, and drops files that only rows before the previous one needed."""
        self.row = next((number for number in range(self.row, len(self.rows)) if uri in self.rows[number]), self.row)
        for done in [name for name in self.copies if self.last_row.get(name, self.row) < self.row - 1]:
            self._drop(done)

    def _copy_ahead(self) -> None:
        """Starts copying the next file that has not been asked for yet, unless a copy is already being made."""
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
