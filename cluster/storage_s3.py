"""S3 with patience: a request that fails for a transient reason is sent again, after a growing random wait, until it is
answered or patience ends (`cluster/storage_patience.py`). This holds for every user of the file system: this project,
pyarrow, Ray Data and Ray Train.

Transient failures are refused and broken connections, timeouts, names that do not resolve, and the responses 408, 425,
429, 500, 502, 503, 504, SlowDown and similar. A missing file or a denied permission is an answer and is not retried.
"""

import asyncio
import logging
import os
import time
from typing import Any, NoReturn

import s3fs
from aiohttp import ClientError as BrokenConnection
from botocore import exceptions as botocore_errors
from fsspec.asyn import sync_wrapper
from s3fs.errors import translate_boto_error
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from cluster import storage_errors, storage_patience
from cluster.failures import UserError
from cluster.storage_patience import patience_s

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 5, 30
BODY_TRIES = 6  # for a body that breaks off while it is read; each try is a patient request in itself
SECONDS_BETWEEN_WARNINGS = 10.0

TROUBLES = (
    botocore_errors.HTTPClientError,
    botocore_errors.ConnectionError,
    botocore_errors.ResponseStreamingError,
    botocore_errors.IncompleteReadError,
    BrokenConnection,
    asyncio.TimeoutError,
    ConnectionError,
    TimeoutError,
)
NO_CREDENTIALS = (
    botocore_errors.NoCredentialsError,
    botocore_errors.PartialCredentialsError,
    botocore_errors.CredentialRetrievalError,
    botocore_errors.ProfileNotFound,
    botocore_errors.ConfigParseError,
    botocore_errors.TokenRetrievalError,
    botocore_errors.NoAuthTokenError,
)

log = logging.getLogger(__name__)
_last_warning = -SECONDS_BETWEEN_WARNINGS


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    if isinstance(error, botocore_errors.ClientError):
        return (
            storage_errors.status_of(error) in storage_errors.BUSY_STATUSES
            or storage_errors.code_of(error) in storage_errors.BUSY
        )
    if isinstance(error, botocore_errors.SSLError):
        return False
    # a proxy's broken response cannot be parsed (s3fs issue 484)
    return isinstance(error, TROUBLES) or type(error).__name__ == "ResponseParserError"


def _error(state: RetryCallState) -> BaseException:
    """The error of a failed try."""
    error = state.outcome.exception() if state.outcome else None
    assert error is not None, "tenacity asks only after a failure"
    return error


def _waited_s(state: RetryCallState) -> float:
    return state.seconds_since_start or 0.0


class PatientS3(s3fs.S3FileSystem):
    """s3fs with a patient `_call_s3`, through which every request goes. The retries of s3fs and botocore are off.

    Raises StorageUnavailable when patience ends or the credentials are refused, and OSErrors as s3fs does.
    """

    retries = BODY_TRIES
    connect_timeout, read_timeout = CONNECT_TIMEOUT_S, READ_TIMEOUT_S

    def __init__(self, **options: Any):
        once = {"retries": {"mode": "standard", "total_max_attempts": 1}}
        ours: dict[str, Any] = {"use_listings_cache": False, "config_kwargs": once}
        super().__init__(**ours | options)

    def split_path(self, path: str) -> tuple[str, str, str | None]:
        """s3fs takes `?versionId=` and what follows for a version; here it is a part of the key, as any other text."""
        plain = str(self._strip_protocol(path)).lstrip("/")
        if "/" not in plain:
            return plain, "", None
        bucket, key = self._find_bucket_key(plain)
        return bucket, key + path[len(path.rstrip("/")) :], None  # as s3fs does it, slashes at the end stay

    async def _call_s3(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        uri = "s3://" + "/".join(filter(None, (keywords.get("Bucket"), keywords.get("Key", keywords.get("Prefix")))))
        try:
            return await self._answer(uri, method, *arguments, **keywords)
        except NO_CREDENTIALS as error:
            raise storage_errors.no_credentials(uri, type(error).__name__) from None
        except botocore_errors.SSLError as error:
            raise UserError(
                f"{uri}: no secure connection to {self._endpoint()}; check https or http in AWS_ENDPOINT_URL"
            ) from error
        except botocore_errors.ClientError as error:
            if method.startswith("head_") and storage_errors.status_of(error) in (400, 403):
                error = await self._with_reason(error, uri, keywords)
            if (code := storage_errors.code_of(error)) in storage_errors.BAD_CREDENTIALS:
                raise storage_errors.bad_credentials(uri, code) from None
            raise translate_boto_error(error) from error
        except (botocore_errors.ParamValidationError, botocore_errors.InvalidRegionError) as error:
            raise UserError(f"{uri}: not a bucket and key that S3 allows; check the URI and the region") from error
        except ValueError as error:  # botocore raises it for an endpoint that is not a URL
            if isinstance(error, UserError) or "endpoint" not in str(error).lower():
                raise
            raise UserError(f"{uri}: AWS_ENDPOINT_URL is no address; give one such as https://HOST:PORT") from None

    call_s3 = sync_wrapper(_call_s3)  # s3fs binds its own at class creation; files that are being written use this name

    async def _answer(self, uri: str, method: str, *arguments: Any, **keywords: Any) -> Any:
        """Sends one request, and sends it again while its failure is transient."""
        started = time.monotonic()

        def give_up(state: RetryCallState) -> NoReturn:
            waited_s = time.monotonic() - started  # without botocore's text, which may show more of the address
            raise storage_errors.not_answering(uri, self._endpoint(), _error(state), waited_s) from None

        def is_over(state: RetryCallState) -> bool:
            return _waited_s(state) + state.upcoming_sleep > patience_s()

        attempts = AsyncRetrying(
            retry=retry_if_exception(is_transient),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            stop=is_over,
            before_sleep=self._warn,
            retry_error_callback=give_up,
        )
        return await attempts(self._request, method, *arguments, **keywords)

    async def _request(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        """Sends one request once. Any answer, even a refusal, ends the first look of this process."""
        await self.set_session()
        client = await self.get_s3(keywords.get("Bucket"))
        send = getattr(client, method)
        try:
            answer = await send(**self._get_s3_method_kwargs(send, *arguments, **keywords))
        except botocore_errors.ClientError as error:
            if not is_transient(error):
                storage_patience.answered()
            raise
        storage_patience.answered()
        return answer

    async def _with_reason(self, error: Exception, uri: str, keywords: dict[str, Any]) -> Exception:
        """A refused HEAD has no body, so a listing of the same place is tried: its error tells if the credentials are bad."""
        try:
            await self._answer(
                uri, "list_objects_v2", Bucket=keywords["Bucket"], Prefix=keywords.get("Key", ""), MaxKeys=1
            )
        except botocore_errors.ClientError as said:
            return said
        return error

    def _warn(self, state: RetryCallState) -> None:
        """Logs a line now and then while there is no answer."""
        global _last_warning
        if time.monotonic() - _last_warning > SECONDS_BETWEEN_WARNINGS:
            _last_warning = time.monotonic()
            why = storage_errors.what_fails(self._endpoint(), _error(state))
            log.warning("%s; trying again for up to %.0f s", why, patience_s() - _waited_s(state))

    def _endpoint(self) -> str:
        url = self._s3.meta.endpoint_url if self._s3 is not None else self.endpoint_url
        return storage_errors.endpoint_name(url or os.environ.get("AWS_ENDPOINT_URL", "the S3 endpoint"))
