"""Takes in an uploaded file: into a temporary folder, up to a size, under a name that harms nothing."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import anyio
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from cluster.temporary_folders import temporary_folder
from pipeline.media.file_types import AUDIO_SUFFIXES, VIDEO_SUFFIXES

MIB = 2**20
CHUNK_BYTES = MIB
NAME_BYTES = 200
FORM_OVERHEAD_BYTES = 4096
"""What a form adds to the file in it."""


@contextlib.asynccontextmanager
async def received(request: Request, most_bytes: int) -> AsyncGenerator[tuple[Path, str]]:
    """The uploaded file, until the end of the block, and its sender's name for it.

    It is the body itself (named by the query's `name`) or the field `file` of a form. Raises HTTPException 413 for a larger
    one, and 400 if there is none or it does not arrive whole.
    """
    is_form = request.headers.get("content-type", "").startswith("multipart/form-data")
    limit = most_bytes + FORM_OVERHEAD_BYTES * is_form
    limited = Request(request.scope, _Limited(request, limit, most_bytes))
    with temporary_folder() as folder:
        try:
            if is_form:
                async with limited.form(max_files=1, max_fields=10) as form:
                    upload = form.get("file")
                    if not isinstance(upload, UploadFile):
                        raise HTTPException(400, "the form has no file; send one as the field `file`")
                    path, name = await _written(folder, upload.filename, _pieces(upload))
            else:
                path, name = await _written(folder, request.query_params.get("name"), limited.stream())
        except ClientDisconnect as error:
            raise HTTPException(400, "the connection ended before the file did") from error
        if not path.stat().st_size:
            raise HTTPException(400, "no bytes came; send the file as the body, or as the field `file` of a form")
        yield path, name


async def _written(folder: str, given_name: str | None, pieces: AsyncIterator[bytes]) -> tuple[Path, str]:
    name = shown_name(given_name)
    suffix = PurePosixPath(name).suffix.lower()
    path = Path(folder, f"upload{suffix if suffix in AUDIO_SUFFIXES + VIDEO_SUFFIXES else ''}")
    async with await anyio.open_file(path, "wb") as file:
        async for piece in pieces:
            await file.write(piece)
    return path, name


async def _pieces(upload: UploadFile) -> AsyncIterator[bytes]:
    while piece := await upload.read(CHUNK_BYTES):
        yield piece


class _Limited:
    """Receives a body up to a size. told_bytes: the limit as the sender is told it."""

    def __init__(self, request: Request, most_bytes: int, told_bytes: int):
        self.receive, self.most_bytes, self.told_bytes, self.taken = request.receive, most_bytes, told_bytes, 0
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > most_bytes:
            raise self._too_large()

    async def __call__(self) -> Message:
        message = await self.receive()
        self.taken += len(message.get("body", b""))
        if self.taken > self.most_bytes:
            raise self._too_large()
        return message

    def _too_large(self) -> HTTPException:
        mib = self.told_bytes / MIB
        return HTTPException(413, f"the file is larger than {mib:.0f} MiB, the limit of this server (--most-mb)")


def shown_name(given: str | None) -> str:
    """The last component of a name from outside, without control characters."""
    last = PurePosixPath(PureWindowsPath(given or "").name).name
    printable = "".join(c for c in last if c.isprintable())
    return printable.encode(errors="ignore")[:NAME_BYTES].decode(errors="ignore") or "upload"
