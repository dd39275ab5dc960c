"""Failures that are not bugs, one exception class for each kind.

A `UserError` ends a job with one line and exit code 1. A bad item (a broken video, a silent clip) is data and
becomes a reject row (`pipeline/rejects.py`). Anything else is a bug and shows its traceback.
"""


class UserError(ValueError):
    """Something the user can fix; the message holds the value and the next step."""


class StorageUnavailable(UserError):
    """The storage, or this machine's disk, serves no file at all: it does not answer, refuses the credentials, or is full.

    This says nothing about the requested file, so it never becomes a reject: the job ends, and the same command
    continues once the storage is back.
    """


def user_error_in(error: BaseException | None) -> UserError | None:
    """The UserError in an error that Ray may have wrapped on its way from a worker; None for a bug."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "cause", None)  # a RayTaskError has one, and is itself an instance of its cause's class
        if isinstance(error, UserError) and not isinstance(inner, BaseException):
            return error
        error = inner if isinstance(inner, BaseException) else error.__cause__
    return None
