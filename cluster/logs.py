"""What a job logs: this project's lines from INFO up, those of libraries from WARNING up."""

import logging
import sys

PACKAGES = ("cluster", "modeling", "pipeline", "jobs", "__main__")
"""Loggers are named after their modules, so that each can be silenced. `__main__` is a module run by `python -m`."""


def show_logs() -> None:
    """Shows logs on stderr with the time of day, in a process that runs a job."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for name in PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)


def send_logs_to(handler: logging.Handler) -> None:
    """In a worker: also passes this project's log lines to `handler`, which sends them to the job's process."""
    for name in PACKAGES:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)


def log_as_received(record: logging.LogRecord) -> None:
    """In the job's process: logs a record from a worker as if the same module had logged it here."""
    logging.getLogger(record.name).handle(record)
