"""The content of OUT/lease.json: which run holds the output, and whether its process is still alive."""

import contextlib
import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import psutil

from cluster import storage
from cluster.failures import UserError


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The file's content. Only the beat changes while a run holds its output."""

    host: str | None = None
    pid: int | None = None
    since: str | None = None
    machine: str | None = None
    """Identifies the boot of the kernel and the container, within which process numbers are comparable; None: unknown."""
    process_started: str | None = None
    """In ticks since boot, so that a reused process number is not mistaken for the holder."""
    token: str | None = None
    """Unique to each run; None only in a file that is just being written."""
    beat: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})" if self.token else "another run"

    def is_on_this_machine(self) -> bool:
        """Whether this machine's process table can tell if it is alive."""
        return self.machine is not None and self.machine == _machine()

    def is_alive(self) -> bool:
        """For a holder on this machine: whether its process exists and is still the same one."""
        return self.pid is not None and _started(self.pid) == self.process_started


def this_process(token: str) -> Holder:
    return Holder(
        host=socket.gethostname(),
        pid=os.getpid(),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=_machine(),
        process_started=_started(os.getpid()),
        token=token,
    )


def read_holder(uri: str, again: bool = True) -> Holder | None:
    """None if there is no file; a Holder without a token if the file is just being written."""
    try:
        return _parsed(storage.read_bytes(uri)) if storage.exists(uri) else None
    except UserError:
        if not storage.exists(uri):  # it was removed between the two calls
            return None
        if again:  # it was replaced meanwhile, which a network file system reports as an error
            return read_holder(uri, again=False)
        raise


def _parsed(data: bytes) -> Holder:
    try:
        found = json.loads(data)
    except ValueError:
        return Holder()
    if not isinstance(found, Mapping):
        return Holder()
    values = cast(Mapping[str, Any], found)
    return Holder(**{field.name: values[field.name] for field in fields(Holder) if field.name in values})


def _machine() -> str | None:
    """None where this is not Linux; then every holder has to be watched."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    return None


def _started(pid: int) -> str | None:
    """When a process began, in ticks since boot, which setting the clock does not change; None: it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        seconds = process.create_time() - psutil.boot_time()
    except (psutil.NoSuchProcess, ValueError):  # ValueError: not a process number
        return None
    return str(round(seconds * os.sysconf("SC_CLK_TCK")))
