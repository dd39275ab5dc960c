"""Runs a program that can be paused, with every process that it has started, and continued."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Self

import psutil

MARK = "EMOVOX_BENCH_RUN"


class Pausable:
    """Runs a command and keeps its output in memory. Linux only. Its processes are found by a mark in their environment,
    because Ray's are not children of the process that started them, and by their parents, because some processes overwrite
    their environment with their title.

    pauses: (begin, end) of each pause in Unix seconds.
    """

    def __init__(self, command: Sequence[str], cwd: str | Path):
        self.mark = uuid.uuid4().hex
        self.process = subprocess.Popen(command, cwd=cwd, env=os.environ | {MARK: self.mark}, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self._printed = self.process.stdout
        self.pauses: list[tuple[float, float]] = []

    def __enter__(self) -> Self:
        self._on_term = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        return self

    def __exit__(self, *error: object) -> None:
        """Kills all processes that are still alive, so that none stays paused."""
        while self._signal(signal.SIGKILL):
            self.runs_on(0.1)
        self.process.wait()
        self._printed.close()
        signal.signal(signal.SIGTERM, self._on_term)

    def runs_on(self, seconds: float) -> bool:
        """Waits for `seconds`; returns whether the program is still running."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is None

    @contextlib.contextmanager
    def paused(self) -> Generator[None]:
        begin = time.time()
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)
            self.pauses.append((begin, time.time()))

    def output(self) -> str:
        """What the program printed; waits for its end."""
        return self.process.communicate()[0].decode()

    def _signal(self, number: signal.Signals) -> bool:
        """Sends the signal to all processes; returns whether there were any."""
        found = self._processes()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return bool(found)

    def _processes(self) -> set[int]:
        """The processes with the mark and all their descendants, without zombies."""
        parents, found = {}, set()
        for process in psutil.process_iter(["status", "ppid", "environ"]):
            if process.info["status"] != psutil.STATUS_ZOMBIE:
                parents[process.pid] = process.info["ppid"]
                if (process.info["environ"] or {}).get(MARK) == self.mark:  # None: another user's process
                    found.add(process.pid)
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found
