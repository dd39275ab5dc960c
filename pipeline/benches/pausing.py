"""A program that can be stopped for a while, with every process that it has started, and goes on where it was."""

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
    """Runs a command whose output is kept in memory. Linux only: its processes are found by a mark in their environment, since
    those of Ray are no children of the one that started them, and by their parents, since some write their name over it.

    pauses: (begin, end) of each, Unix seconds.
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
        """Whatever still lives is ended, so that nothing stays stopped."""
        while self._signal(signal.SIGKILL):
            self.runs_on(0.1)
        self.process.wait()
        self._printed.close()
        signal.signal(signal.SIGTERM, self._on_term)

    def runs_on(self, seconds: float) -> bool:
        """Waits; whether the program still runs then."""
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
        """What the program has printed, when it has ended."""
        return self.process.communicate()[0].decode()

    def _signal(self, number: signal.Signals) -> bool:
        """Whether there was any process to take it."""
        found = self._processes()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return bool(found)

    def _processes(self) -> set[int]:
        """Those with the mark, and all that descend from them; none that has ended and is only not waited for."""
        parents, found = {}, set()
        for process in psutil.process_iter(["status", "ppid", "environ"]):
            if process.info["status"] != psutil.STATUS_ZOMBIE:
                parents[process.pid] = process.info["ppid"]
                if (process.info["environ"] or {}).get(MARK) == self.mark:  # None: another user's
                    found.add(process.pid)
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found
