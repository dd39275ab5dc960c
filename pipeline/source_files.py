"""The media files of a block of utterances, on this machine while the block is worked on."""

import contextlib

from cluster import storage
from cluster.failures import UserError
from pipeline.rejects import Rejected, RejectReason


class SourceFiles:
    """Local paths of the files of a block; each remote file is copied once and dropped when the block is done."""

    def __enter__(self) -> "SourceFiles":
        self.stack = contextlib.ExitStack()
        self.paths: dict[str, str] = {}
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def path(self, uri: str) -> str:
        if uri not in self.paths:
            try:
                self.paths[uri] = self.stack.enter_context(storage.local_copy(uri))
            except UserError as problem:
                missing = isinstance(problem.__cause__, FileNotFoundError)
                reason = RejectReason.FILE_NOT_FOUND if missing else RejectReason.STORAGE_ERROR
                raise Rejected(reason, str(problem)) from problem
        return self.paths[uri]
