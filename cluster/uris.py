"""URIs of files: a local path, `file://`, or `s3://bucket/key`. `cluster.storage` reads and writes what they name."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

from cluster.failures import UserError


def scheme_of(uri: str | Path) -> str:
    """In lower case, as `S3://` means s3; "" for a path."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://|(file):/", str(uri), re.IGNORECASE)
    return (found[1] or found[2]).lower() if found else ""


def is_local(uri: str | Path) -> bool:
    return scheme_of(uri) in ("", "file")


def absolute(uri: str | Path) -> str:
    """Makes a local path absolute, so that a worker with another working folder reads the same file. Another URI gets its
    scheme in lower case.

    Raises UserError for what is neither path nor URI, such as `s3:/bucket/key`, which would become a local folder.
    """
    uri, scheme = str(uri), scheme_of(uri)
    if scheme and scheme != "file":
        return f"{scheme}://{uri.partition('://')[2].rstrip('/')}"
    return os.path.abspath(os.path.expanduser(_path_of_file_uri(uri) if scheme else _plain_path(uri)))


def _path_of_file_uri(uri: str) -> str:
    """Of `file:///path`, `file://localhost/path` or `file:/path` (RFC 8089), where %20 is a space."""
    rest = uri.partition(":")[2]
    host, path = "", rest
    if rest.startswith("//"):
        host, slash, below = rest[2:].partition("/")
        path = slash + below
    if host.lower() not in ("", "localhost", "127.0.0.1"):
        raise UserError(
            f"{uri}: files of another machine ({host}) cannot be read; write file:///PATH with three slashes, or the path alone"
        )
    return unquote(path)


def _plain_path(path: str) -> str:
    if re.match(
        r"[A-Za-z][A-Za-z0-9+.-]*:(/|$)|(s3a?|gs|gcs|abfss?|https?):", path, re.IGNORECASE
    ) and not os.path.lexists(path):
        scheme, _, rest = path.partition(":")
        raise UserError(
            f"{path}: neither a path nor a URI; write {scheme.lower()}://{rest.lstrip('/')}, or ./{path} for a local file"
        )
    return path


def join(uri: str | Path, *names: str) -> str:
    return "/".join([str(uri).rstrip("/"), *names])
