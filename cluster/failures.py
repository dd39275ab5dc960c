"""What may go wrong outside the code, in one word for each kind.

A `UserError` ends a job with one line and exit code 1. A bad item (a broken video, a silent clip) is data and
becomes a reject row (`pipeline/rejects.py`). Everything else is a bug and raises with its traceback.
"""


class UserError(ValueError):
    """Something the person at the keyboard can mend; the message holds the value and the next step."""
