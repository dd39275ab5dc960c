"""How long we wait for an object store that does not answer.

EMOVOX_STORAGE_PATIENCE_S: seconds for which a request is retried, 180 by default; set it on a cluster's workers too.
A job's first request gets at most 20 s, because an address that has never answered is probably wrong.
"""

import os

from cluster.failures import UserError

PATIENCE_S = 180.0
VARIABLE = "EMOVOX_STORAGE_PATIENCE_S"
FIRST_LOOK_S = 20.0

_first_look = False


def expect_first_answer() -> None:
    """Call when a job begins: until a storage has answered once, this process waits no longer than `FIRST_LOOK_S`."""
    global _first_look
    _first_look = True


def answered() -> None:
    global _first_look
    _first_look = False


def patience_s() -> float:
    """Seconds for which a request is retried. Raises UserError if the variable does not hold a number of seconds."""
    text = os.environ.get(VARIABLE, str(PATIENCE_S))
    try:
        seconds = float(text)
        if not seconds >= 0:
            raise ValueError(text)
    except ValueError as error:
        raise UserError(f"{VARIABLE} is {text!r}; give seconds, such as {PATIENCE_S:g}") from error
    return min(seconds, FIRST_LOOK_S) if _first_look else seconds
