"""Progress on stderr: a live bar in a terminal, a plain line now and then in a log file."""

import sys
from typing import NoReturn

from tqdm import tqdm

SECONDS_BETWEEN_LOG_LINES = 10.0


def progress(total: int, what: str, unit: str, done: int = 0) -> "tqdm[NoReturn]":
    """A tqdm bar that counts up to `total` `unit`s, with rate and time left; outside a terminal, a line per refresh.

    done: the count that an earlier run reached; it does not enter the rate.
    """
    live = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit,
        file=sys.stderr,
        ascii=not live,
        mininterval=0.2 if live else SECONDS_BETWEEN_LOG_LINES,
        maxinterval=0.5 if live else SECONDS_BETWEEN_LOG_LINES,
        bar_format=None if live else "{desc}: {n_fmt}/{total_fmt} {unit}, {elapsed} gone, {remaining} left{postfix}\n",
    )
