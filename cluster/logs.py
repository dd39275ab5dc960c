"""The lines that a job logs: this project's from INFO on, those of libraries from WARNING on."""

import logging
import sys

PACKAGES = ("cluster", "modeling", "pipeline", "jobs", "__main__")
"""Loggers are named after their modules, so that one of them can be made silent; `__main__`: a module run by `python -m`."""


def show_logs() -> None:
    """To stderr, with the time of day, in a process that is begun for a job."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for name in PACKAGES:
        logging.getLogger(name).setLevel(logging.INFO)


def send_logs_to(handler: logging.Handler) -> None:
    """In a worker: what this project logs goes to `handler` too, which takes it to the process of the job."""
    for name in PACKAGES:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)


def log_as_received(record: logging.LogRecord) -> None:
    """In the process of the job: a record that came from a worker, as if the same module had logged it here."""
    logging.getLogger(record.name).handle(record)
