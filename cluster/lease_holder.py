"""Who holds an output: what OUT/lease.json says of the run that writes there, and whether its process still lives."""

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
    """Content of the file. All but the beat stay the same for as long as a run holds its output."""

    host: str | None = None
    pid: int | None = None
    since: str | None = None
    machine: str | None = None
    """Where a process number means the same: this boot of the kernel and this container; None where it cannot be told."""
    process_started: str | None = None
    """In ticks since the boot, so that a process number used again is not taken for the holder."""
    token: str | None = None
    """Each run's own; None in a file that is just being written, and in nothing else."""
    beat: int = 0

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})" if self.token else "another run"

    def is_on_this_machine(self) -> bool:
        """Whether the process table of this machine says if it lives."""
        return self.machine is not None and self.machine == _machine()

    def is_alive(self) -> bool:
        """Of a holder on this machine: whether its process is there and is the same."""
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
    """None where there is no file; a Holder without a token for a file that is just being written."""
    try:
        return _parsed(storage.read_bytes(uri)) if storage.exists(uri) else None
    except UserError:
        if not storage.exists(uri):  # it went between the two looks
            return None
        if again:  # another was put in its place meanwhile, which a network file system tells as an error
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
    """None where Linux is not there to tell; then every holder is one to be watched."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    return None


def _started(pid: int) -> str | None:
    """When a process began, in ticks since the boot, which no change of the clock moves; None: it is gone or a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        seconds = process.create_time() - psutil.boot_time()
    except (psutil.NoSuchProcess, ValueError):  # ValueError: no number of a process
        return None
    return str(round(seconds * os.sysconf("SC_CLK_TCK")))
