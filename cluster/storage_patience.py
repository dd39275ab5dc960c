"""How long an object store that does not answer is waited for.

EMOVOX_STORAGE_PATIENCE_S: seconds for which a request is tried, 180 if not set; set it on the workers of a cluster too.
A job's first look at its storage is given 20 s at most, because an address that never answered is rather a wrong one.
"""

import os

from cluster.failures import UserError

PATIENCE_S = 180.0
VARIABLE = "EMOVOX_STORAGE_PATIENCE_S"
FIRST_LOOK_S = 20.0

_first_look = False


def expect_first_answer() -> None:
    """Called where a job begins: until a storage has answered, this process waits `FIRST_LOOK_S` and not longer."""
    global _first_look
    _first_look = True


def answered() -> None:
    global _first_look
    _first_look = False


def patience_s() -> float:
    """Seconds for which a request is tried. Raises UserError for a value that is no number of seconds."""
    text = os.environ.get(VARIABLE, str(PATIENCE_S))
    try:
        seconds = float(text)
        if not seconds >= 0:
            raise ValueError(text)
    except ValueError as error:
        raise UserError(f"{VARIABLE} is {text!r}; give seconds, such as {PATIENCE_S:g}") from error
    return min(seconds, FIRST_LOOK_S) if _first_look else seconds
