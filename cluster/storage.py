"""Files by URI: a local path, `file://`, or `s3://bucket/key` (any endpoint, through s3fs).

Credentials and endpoint come from the usual AWS environment and profile chain (AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_PROFILE, ...); they are written nowhere. Failures are UserErrors of one line
(`cluster/storage_errors.py`). Requests to an object store that does not answer are retried (`cluster/storage_s3.py`).
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from cluster import local_files, storage_errors
from cluster.failures import StorageUnavailable, UserError
from cluster.json_values import json_ready
from cluster.temporary_folders import temporary_folder
from cluster.uris import absolute, is_local, join, scheme_of

if TYPE_CHECKING:
    from cluster.storage_s3 import PatientS3

PARTIAL = ".partial"
"""Ending of a file that is being written. If a killed process leaves one behind, it does not count as content."""

COPY_THREADS = 8
RANGE_BYTES = 128 * 2**10
S3_KEY_BYTES = 1024


@dataclass(frozen=True, order=True)
class StoredFile:
    """One file found under a prefix; size in bytes."""

    uri: str
    size: int


def resolve(uri: str | Path) -> tuple[pafs.FileSystem, str]:  # pyright: ignore[reportUnknownParameterType] (pyarrow has no types)
    """The pyarrow filesystem and the path within it. Raises UserError for an unknown scheme."""
    uri = absolute(uri)
    if is_local(uri):
        return pafs.LocalFileSystem(), uri
    return pafs.PyFileSystem(pafs.FSSpecHandler(_s3(uri))), _bucket_and_key(uri)


def _bucket_and_key(uri: str | Path) -> str:
    return absolute(uri).removeprefix("s3://")


def _s3(uri: str) -> "PatientS3":
    """The object store. s3fs is imported on first use: a job with only local files does not need it."""
    path = str(uri).partition("://")[2]
    if scheme_of(uri) != "s3":
        raise UserError(f"{uri}: the scheme is not known; use a local path, file:// or s3://")
    if "@" in path.partition("/")[0]:
        raise UserError(
            f"s3://...@{path.partition('@')[2]}: credentials in a URI are not read; give them by AWS_PROFILE, or "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return _s3_of(tuple(sorted(item for item in os.environ.items() if item[0].startswith("AWS_"))))


@functools.lru_cache(maxsize=1)
def _s3_of(environment: tuple[tuple[str, str], ...]) -> "PatientS3":
    """One instance per environment, so that correcting AWS_ENDPOINT_URL in a notebook takes effect."""
    from cluster.storage_s3 import PatientS3

    PatientS3.clear_instance_cache()  # s3fs's own cache ignores the environment
    return PatientS3()


@contextlib.contextmanager
def explained(uri: str | Path, what: str) -> Generator[None]:
    """Turns the many errors of file systems into a UserError of one line that names the URI and the next step."""
    try:
        yield
    except (UserError, OSError) as error:
        if isinstance(error, UserError):
            raise
        raise storage_errors.explained(error, str(uri), what, is_local(uri)) from error
    except Exception as error:
        if is_local(uri) or not _broke_off(error):
            raise
        raise storage_errors.explained(error, str(uri), what, False) from error


def _broke_off(error: Exception) -> bool:
    """Whether the body of a response could not be read to its end, after several tries."""
    from cluster.storage_s3 import is_transient

    return is_transient(error)


def _kind(uri: str | Path) -> pafs.FileType:  # pyright: ignore[reportUnknownParameterType] (pyarrow has no types)
    with explained(uri, "look it up"):
        uri = absolute(uri)
        if is_local(uri):
            try:
                return pafs.LocalFileSystem().get_file_info(uri).type
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:  # so nothing can be there
                    return pafs.FileType.NotFound
                raise
        try:
            found = _s3(uri).info(uri)
        except FileNotFoundError as error:
            if storage_errors.is_bucket_missing(error, uri):  # a mistake, unlike a missing file
                raise
            return pafs.FileType.NotFound
        return pafs.FileType.Directory if found["type"] == "directory" else pafs.FileType.File


def exists(uri: str | Path) -> bool:
    return _kind(uri) != pafs.FileType.NotFound


def is_folder(uri: str | Path) -> bool:
    return _kind(uri) == pafs.FileType.Directory


def require_file_name(uri: str | Path) -> None:
    """Call before any work is done: raises UserError if `uri` is a folder or nothing can be written there."""
    if is_folder(uri):
        raise UserError(f"{uri} is a folder; give the name of the file to write, such as {join(uri, 'table.parquet')}")
    folder, _, name = absolute(uri).rpartition("/")
    _require_short_name(uri, folder or "/", record_name(name))
    require_writable(folder or "/")


def record_name(name: str) -> str:
    """That of the record beside an output file: `NAME.run.json` for `NAME.parquet`."""
    return f"{name.removesuffix('.parquet')}.run.json"


def _require_short_name(uri: str | Path, folder: str, longest: str) -> None:
    """longest: of the names that are to be written into the folder for the file `uri`."""
    if is_local(uri):
        with explained(uri, "write there"):
            size, most = len(os.fsencode(longest)), local_files.longest_name_bytes(folder)
    else:
        size, most = len(_bucket_and_key(join(folder, longest)).partition("/")[2].encode()), S3_KEY_BYTES
    if size > most:
        raise UserError(
            f"{uri}: the name is {size - most} bytes too long for it and {longest[-16:]} beside it; give a shorter one"
        )


def require_writable(folder_uri: str | Path) -> None:
    """Call before any work is done: raises UserError if nothing can be written below a folder or prefix.

    On an object store a small object is written and deleted. A local folder need not exist and is not created.
    """
    with explained(folder_uri, "write there"):
        if is_local(folder_uri):
            local_files.require_writable(absolute(folder_uri))
            return
        fs, bucket = _s3(str(folder_uri)), _bucket_and_key(folder_uri).partition("/")[0]
        with contextlib.suppress(PermissionError):  # some users may write but not list
            fs.call_s3("list_objects_v2", Bucket=bucket, MaxKeys=1)  # some servers create a missing bucket on write
        check = join(_bucket_and_key(folder_uri), f".write-check{PARTIAL}")
        fs.pipe_file(check, b"")
        with contextlib.suppress(PermissionError):  # some users may write but not delete
            fs.rm_file(check)


def version(uri: str | Path) -> str:
    """A string that changes when the file is rewritten: an object's ETag, or a local file's time and size."""
    with explained(uri, "look it up"):
        if is_local(uri):
            status = os.stat(absolute(uri))
            return f"{status.st_mtime_ns}-{status.st_size}"
        return str(_s3(str(uri)).info(absolute(uri)).get("ETag", "")).strip('"')


def size(uri: str | Path) -> int:
    """Of one file, in bytes."""
    with explained(uri, "look it up"):
        return os.stat(absolute(uri)).st_size if is_local(uri) else int(_s3(str(uri)).info(absolute(uri))["size"])


def list_files(
    uri: str | Path, suffixes: tuple[str, ...] = (), left_out: Callable[[str], bool] = lambda uri: False
) -> list[StoredFile]:
    """All files below a folder or prefix, sorted by URI; `suffixes` are matched in lower case.

    left_out: says of a URI whether it is none of the listing; a local folder of which it says so is not looked into.
    """
    with explained(uri, "list it"):
        uri = absolute(uri)
        if is_local(uri):
            files = [StoredFile(path, size) for path, size in local_files.walk(uri, left_out)]
        else:
            found: dict[str, dict[str, Any]] = _s3(uri).find(uri, detail=True)  # pyright: ignore[reportAssignmentType]
            infos = [info for info in found.values() if info["type"] == "file"]
            files = [StoredFile(f"s3://{info['name']}", info["size"]) for info in infos]
            if not files and _kind(uri) != pafs.FileType.Directory:  # some servers keep empty folders
                raise FileNotFoundError(uri)
        if [file.uri for file in files] == [uri]:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    wanted = (file for file in files if not suffixes or file.uri.lower().endswith(suffixes))
    return sorted(file for file in wanted if not file.uri.endswith((PARTIAL, "/")) and not left_out(file.uri))


def delete(uri: str | Path) -> None:
    with explained(uri, "delete it"):
        if is_local(uri):
            os.remove(absolute(uri))
        else:
            _s3(str(uri)).rm_file(absolute(uri))  # `rm`, which pyarrow calls, takes a key with * for a pattern


def read_bytes(uri: str | Path) -> bytes:
    with explained(uri, "read it"):
        if is_local(uri):
            return Path(absolute(uri)).read_bytes()
        data = _s3(str(uri)).cat_file(absolute(uri), max_concurrency=1)
        assert isinstance(data, bytes), "cat_file gives text only where it is asked for"
        return data


def write_bytes(uri: str | Path, data: bytes) -> None:
    """Writes all or nothing: a local file through a temporary file and a rename, an object by one PUT or, from 100 MB on,
    a multipart upload, which becomes visible when it is complete."""
    with explained(uri, "write it"):
        if is_local(uri):
            local_files.write_whole(absolute(uri), data, PARTIAL)
        else:
            _s3(str(uri)).pipe_file(absolute(uri), bytes(data))


def create_bytes(uri: str | Path, data: bytes) -> None:
    """Like `write_bytes`, but raises FileExistsError, with nothing changed, if the file exists.

    If several processes create it at the same instant, exactly one succeeds on a local disk and on an object store with
    conditional writes (S3 has If-None-Match). Elsewhere the last one wins: read it back to find out which did.
    """
    if is_local(uri):
        with explained(uri, "write it"):
            is_new = local_files.create_whole(absolute(uri), data, PARTIAL)
    else:
        is_new = _create_object(str(uri), data)
    if not is_new:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(uri))


def _create_object(uri: str, data: bytes) -> bool:
    try:
        _s3(uri).pipe_file(absolute(uri), bytes(data), mode="create")
    except OSError:  # it exists, or the storage has no conditional writes
        if exists(uri):
            return False
        write_bytes(uri, data)  # explains in one line anything else that is wrong
    return True


def read_json(uri: str | Path) -> dict[str, Any]:
    """Raises UserError if the file does not hold a JSON object."""
    try:
        value = json.loads(read_bytes(uri))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{uri}: not a JSON file ({error}); write it again, or give another") from error
    if not isinstance(value, dict):
        raise UserError(f"{uri}: it holds a JSON {type(value).__name__} and not an object; give another file")
    return value


def write_json(uri: str | Path, value: object) -> None:
    """Writes a dataclass, a mapping or anything else that `json_ready` takes as one file, all or nothing."""
    write_bytes(uri, _json(value))


def create_json(uri: str | Path, value: object) -> None:
    """Like `write_json`, but raises FileExistsError if the file exists, as `create_bytes` does."""
    create_bytes(uri, _json(value))


def _json(value: object) -> bytes:
    return (json.dumps(json_ready(value), indent=2) + "\n").encode()


def read_table(  # pyright: ignore[reportUnknownParameterType] (pyarrow has no types)
    uri: str | Path, columns: list[str] | None = None
) -> pa.Table:
    """Reads one parquet file. Raises UserError if it is missing or is not parquet."""
    try:
        return pq.read_table(pa.BufferReader(read_bytes(uri)), columns=columns)
    except pa.ArrowInvalid as error:
        raise UserError(f"{uri}: not a readable parquet file ({error}); write it again") from error


def write_table(uri: str | Path, table: pa.Table) -> int:  # pyright: ignore[reportUnknownParameterType] (pyarrow has no types)
    """Writes one parquet file (zstd), all or nothing. Returns its size in bytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    write_bytes(uri, data)
    return len(data)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def local_copy(uri: str | Path) -> Generator[str]:
    """A path on this machine to the content: the file or folder itself if it is local, else a temporary copy.

    A remote URI that ends with "/" is a folder, and its files are copied into one folder.
    """
    if is_local(uri):
        yield absolute(uri)
        return
    with temporary_folder() as folder:
        if str(uri).endswith("/"):
            names = [file.uri for file in list_files(uri)]
            with ThreadPoolExecutor(COPY_THREADS) as pool:
                list(pool.map(lambda name: _copy(name, Path(folder, Path(name).name)), names))
            yield folder
        else:
            copy = Path(folder, "file" + Path(str(uri)).suffix)
            _copy(str(uri), copy)
            yield str(copy)


def _copy(uri: str, path: Path) -> None:
    """Copies one object into a new file, in one stream that resumes where it broke off."""
    with explained(uri, "read it"):
        try:
            _s3(uri).get_file(absolute(uri), str(path), max_concurrency=1)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise StorageUnavailable(
                f"{uri}: no room for its copy in the temporary folder {path.parent.parent} (TMPDIR); free room or set "
                "TMPDIR to a larger disk"
            ) from error


@contextlib.contextmanager
def open_ranges(uri: str | Path, size: int) -> Generator[BinaryIO]:
    """Opens an object of `size` bytes as a file that fetches only the ranges that are read, in blocks of 128 KiB."""
    with (
        explained(uri, "read it"),
        _s3(str(uri)).open(absolute(uri), "rb", size=size, block_size=RANGE_BYTES, cache_type="blockcache") as file,
    ):
        yield cast(BinaryIO, file)
