"""Files by URI: a local path, `file://`, or `s3://bucket/key` (any endpoint, through s3fs).

Credentials and endpoint come from the usual AWS environment and profile chain (AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_PROFILE, ...); nothing here reads, prints or stores them.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from cluster.failures import UserError

PARTIAL = ".partial"
"""Ending of a file that is being written; what a killed process leaves of it is no content."""

log = logging.getLogger("emovox")


@dataclass(frozen=True, order=True)
class StoredFile:
    """One file found under a prefix; size in bytes."""

    uri: str
    size: int


def is_local(uri: str) -> bool:
    return not re.match(r"^[a-z][a-z0-9+.-]*://", str(uri)) or str(uri).startswith("file://")


def absolute(uri: str | Path) -> str:
    """A local path made absolute (so that a worker elsewhere reads the same file); any other URI unchanged."""
    uri = str(uri).removeprefix("file://")
    return os.path.abspath(os.path.expanduser(uri)) if is_local(uri) else uri.rstrip("/")


def join(uri: str | Path, *parts: str) -> str:
    return "/".join([str(uri).rstrip("/"), *parts])


def resolve(uri: str | Path) -> tuple[pafs.FileSystem, str]:
    """The pyarrow filesystem and the path within it. Raises UserError for a scheme that is not known."""
    uri = absolute(uri)
    if is_local(uri):
        return pafs.LocalFileSystem(), uri
    if uri.startswith("s3://"):
        import s3fs

        return pafs.PyFileSystem(pafs.FSSpecHandler(s3fs.S3FileSystem(use_listings_cache=False))), uri.removeprefix(
            "s3://"
        )
    raise UserError(f"{uri}: the scheme is not known; use a local path, file:// or s3://")


@contextlib.contextmanager
def _explained(uri: str | Path, what: str) -> Iterator[None]:
    """Turns the many errors of the file systems into one line that names the URI and the next step."""
    try:
        yield
    except FileNotFoundError as error:
        raise UserError(f"{uri}: not found; check the path, or the bucket and the key") from error
    except PermissionError as error:
        raise UserError(
            f"{uri}: no permission to {what}; check the credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID) and the rights on it"
        ) from error
    except OSError as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UserError(f"{uri}: cannot {what} ({reason}); check that the storage answers and has room") from error


def exists(uri: str | Path) -> bool:
    with _explained(uri, "look it up"):
        fs, path = resolve(uri)
        return fs.get_file_info(path).type != pafs.FileType.NotFound


def is_folder(uri: str | Path) -> bool:
    with _explained(uri, "look it up"):
        fs, path = resolve(uri)
        return fs.get_file_info(path).type == pafs.FileType.Directory


def require_file_name(uri: str | Path) -> None:
    """Raises UserError if a folder stands where a file is to be written, before any work is done."""
    if is_folder(uri):
        raise UserError(f"{uri} is a folder; give the name of the file to write, such as {join(uri, 'table.parquet')}")


def list_files(uri: str | Path, suffixes: tuple[str, ...] = ()) -> list[StoredFile]:
    """All files below a folder or prefix, sorted by URI; `suffixes` are matched in lower case."""
    with _explained(uri, "list it"):
        fs, path = resolve(uri)
        if is_local(uri):
            files = list(_walk(path))
        else:
            found = fs.get_file_info(pafs.FileSelector(path, recursive=True))
            files = [StoredFile(f"s3://{info.path}", info.size) for info in found if info.type == pafs.FileType.File]
    wanted = (file for file in files if not suffixes or file.uri.lower().endswith(suffixes))
    return sorted(file for file in wanted if not file.uri.endswith(PARTIAL))


def _walk(path: str) -> Iterator[StoredFile]:
    """Files below a local folder. A name that is not UTF-8 cannot be kept in a table: it is left out, with a warning."""
    if not os.path.isdir(path):
        raise FileNotFoundError(path)
    for folder, _, names in os.walk(path, followlinks=True):
        for name in names:
            full = os.path.join(folder, name)
            try:
                full.encode()
                yield StoredFile(full, os.path.getsize(full))
            except UnicodeEncodeError:
                log.warning("%r is left out: its name is not UTF-8; rename it", os.fsencode(full))
            except FileNotFoundError:
                log.warning("%s is left out: it is a link to nothing", full)


def delete(uri: str | Path) -> None:
    with _explained(uri, "delete it"):
        fs, path = resolve(uri)
        fs.delete_file(path)


def read_bytes(uri: str | Path) -> bytes:
    with _explained(uri, "read it"):
        fs, path = resolve(uri)
        with fs.open_input_file(path) as file:
            return file.read()


def write_bytes(uri: str | Path, data: bytes) -> None:
    """Whole or not at all: a local file is written aside and renamed, an object is one PUT."""
    with _explained(uri, "write it"):
        fs, path = resolve(uri)
        if is_local(uri):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            folder, name = os.path.split(path)
            aside = os.path.join(
                folder, f".{name}.{uuid.uuid4().hex[:8]}{PARTIAL}"
            )  # readers of tables skip a leading dot
            try:
                Path(aside).write_bytes(data)
                os.replace(aside, path)
            finally:
                Path(aside).unlink(missing_ok=True)
        else:
            with fs.open_output_stream(path) as file:
                file.write(data)


def read_json(uri: str | Path) -> dict:
    return json.loads(read_bytes(uri))


def write_json(uri: str | Path, value: dict) -> None:
    write_bytes(uri, (json.dumps(value, indent=2) + "\n").encode())


def read_table(uri: str | Path, columns: list[str] | None = None) -> pa.Table:
    """One parquet file as a table. Raises UserError if it is missing or is not parquet."""
    try:
        return pq.read_table(pa.BufferReader(read_bytes(uri)), columns=columns)
    except pa.ArrowInvalid as error:
        raise UserError(f"{uri}: not a readable parquet file ({error}); write it again") from error


def write_table(uri: str | Path, table: pa.Table) -> None:
    """One parquet file (zstd), whole or not at all."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(uri, sink.getvalue().to_pybytes())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def local_copy(uri: str | Path) -> Iterator[str]:
    """A path on this machine with the content: the file or folder itself if it is local, else a temporary copy.

    A remote folder is meant where the URI ends with "/"; its files are copied side by side.
    """
    if is_local(uri):
        yield absolute(uri)
        return
    if str(uri).endswith("/"):
        with tempfile.TemporaryDirectory(prefix="emovox-") as folder:
            for file in list_files(uri):
                Path(folder, Path(file.uri).name).write_bytes(read_bytes(file.uri))
            yield folder
        return
    with tempfile.NamedTemporaryFile(prefix="emovox-", suffix=Path(str(uri)).suffix) as file:
        with _explained(uri, "read it"):
            fs, path = resolve(uri)
            with fs.open_input_stream(path) as source:
                while block := source.read(1 << 22):
                    file.write(block)
        file.flush()
        yield file.name
