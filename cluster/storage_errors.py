"""One line for each way in which a storage fails: the URI, what is wrong and the next step, never a credential."""

import errno
import os
import socket
from urllib.parse import urlsplit

from cluster.failures import StorageUnavailable, UserError

BAD_CREDENTIALS = {
    "InvalidAccessKeyId": "the storage does not know the access key",
    "InvalidClientTokenId": "the storage does not know the access key",
    "SignatureDoesNotMatch": "the secret key is not the one of the access key",
    "ExpiredToken": "the credentials have expired",
    "ExpiredTokenException": "the credentials have expired",
    "TokenRefreshRequired": "the credentials have expired",
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "the clock of this machine is too far from the storage's",
}
"""S3 error codes (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html) that apply to every file alike."""

BUSY = frozenset(
    "SlowDown ServiceUnavailable InternalError RequestTimeout Throttling ThrottlingException RequestLimitExceeded "
    "OperationAborted RequestTimeoutException".split()
) | {"503 SlowDown"}
BUSY_STATUSES = {408, 425, 429, 500, 502, 503, 504}

ANOTHER_REGION = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301"}

RIGHTS = {
    "read": "s3:GetObject",
    "list": "s3:ListBucket",
    "look": "s3:GetObject or s3:ListBucket",
    "write": "s3:PutObject",
    "delete": "s3:DeleteObject",
}
"""Keyed by the first word of the action that failed."""

CREDENTIALS_STEP = "check AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


def code_of(error: BaseException | None) -> str:
    """The S3 error code behind an error; "" if there is none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""


def status_of(error: BaseException) -> int:
    """The HTTP status of a botocore ClientError; 0 if there is none."""
    response = getattr(error, "response", None)
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) if isinstance(response, dict) else 0


def endpoint_name(url: str) -> str:
    """Scheme, host and port of an endpoint, without any user and password in it."""
    split = urlsplit(url)
    host = f"[{split.hostname}]" if ":" in (split.hostname or "") else split.hostname
    return f"{split.scheme}://{host}" + (f":{split.port}" if split.port else "")


def bad_credentials(uri: str, code: str) -> StorageUnavailable:
    return StorageUnavailable(f"{uri}: {BAD_CREDENTIALS[code]} ({code}); {CREDENTIALS_STEP}")


def no_credentials(uri: str, kind: str) -> StorageUnavailable:
    """`kind`: class name of botocore's error, such as ProfileNotFound. Its text is left out: it may quote a file."""
    profile = os.environ.get("AWS_PROFILE")
    named = f"; AWS_PROFILE is {profile!r}" if profile else ""
    return StorageUnavailable(
        f"{uri}: no credentials were found ({kind}{named}); set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )


def not_answering(uri: str, endpoint: str, error: BaseException, waited_s: float) -> StorageUnavailable:
    """For a storage whose last answer, after all retries, was still a transient error."""
    return StorageUnavailable(
        f"{uri}: {what_fails(endpoint, error)}, tried for {waited_s:.0f} s; check AWS_ENDPOINT_URL and that the storage "
        "runs, then give the same command again"
    )


def what_fails(endpoint: str, error: BaseException) -> str:
    """Says in a few words why there is no answer. The cause of botocore's error tells more than its text."""
    if status := status_of(error):
        return f"{endpoint} answers {status} {code_of(error)}".removesuffix(f" {status}")
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = getattr(cause, "os_error", None) or cause.__cause__ or cause.__context__
    names = " ".join(type(cause).__name__ for cause in causes)
    if any(isinstance(cause, socket.gaierror) for cause in causes) or "DNSError" in names:
        return f"the host name of {endpoint} is not known"
    if any(getattr(cause, "errno", None) == errno.ECONNREFUSED for cause in causes):
        return f"{endpoint} refuses connections"
    if "Timeout" in names:
        return f"{endpoint} does not answer in time"
    if "ResponseParserError" in names:
        return f"{endpoint} answers, but not as an S3 storage does"
    return f"{endpoint} breaks off the connection ({type(error).__name__})"


def is_bucket_missing(error: BaseException, uri: str) -> bool:
    """Whether the bucket itself is missing and not only the key. A HEAD of a missing bucket gives just 404."""
    return code_of(error) == "NoSuchBucket" or "/" not in uri.removeprefix("s3://").rstrip("/")


def explained(error: BaseException, uri: str, what: str, is_local: bool) -> UserError:
    """The UserError for a file system's error. what: the action that failed, such as "read it"."""
    if isinstance(error, FileNotFoundError):
        if not is_local and is_bucket_missing(error, uri):
            bucket = uri.removeprefix("s3://").partition("/")[0]
            return UserError(f"{uri}: there is no bucket {bucket!r}; check its name and AWS_ENDPOINT_URL, or make it")
        return UserError(f"{uri}: not found; check the path" + ("" if is_local else ", or the bucket and the key"))
    if isinstance(error, PermissionError):
        if is_local:
            return UserError(f"{uri}: no permission to {what}; check the owner and the mode of the file and its folder")
        right = RIGHTS.get(what.partition(" ")[0], "that")
        return UserError(
            f"{uri}: the credentials have no permission to {what}; ask for the right {right} there, or give others "
            "(AWS_PROFILE, AWS_ACCESS_KEY_ID)"
        )
    if isinstance(error, NotADirectoryError):
        return UserError(f"{uri}: cannot {what}, a file stands where a folder is meant; give the folder")
    if isinstance(error, IsADirectoryError):
        return UserError(f"{uri}: cannot {what}, a folder of this name is there; give the name of a file")
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageUnavailable(f"{uri}: cannot {what}, the disk is full; free room or choose another place")
        if (code := code_of(error)) in ANOTHER_REGION:
            return UserError(f"{uri}: the bucket is in another region ({code}); set AWS_DEFAULT_REGION to its region")
        strerror = os.strerror(error.errno) if error.errno else None
        reason = code or strerror or type(error).__name__
        return UserError(f"{uri}: cannot {what} ({reason}); check that the storage answers and has room")
    return StorageUnavailable(
        f"{uri}: cannot {what}, the storage breaks off ({type(error).__name__}); give the same command again"
    )
