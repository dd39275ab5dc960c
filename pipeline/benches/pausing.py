"""A program that can be stopped for a while, with every process that it has started, and goes on where it was."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

MARK = "EMOVOX_BENCH_RUN"


class Pausable:
    """Runs a command whose output is kept in memory. Linux only: its processes are found by a mark in their environment, since
    those of Ray are no children of the one that started them, and by their parents, since some write their name over it.

    pauses: (begin, end) of each, Unix seconds.
    """

    def __init__(self, command: Sequence[str], cwd: str | Path):
        value = uuid.uuid4().hex
        self.mark = f"{MARK}={value}".encode()
        self.process = subprocess.Popen(command, cwd=cwd, env=os.environ | {MARK: value}, stdout=subprocess.PIPE)
        self.pauses: list[tuple[float, float]] = []

    def __enter__(self) -> Self:
        self._on_term = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        return self

    def __exit__(self, *error: object) -> None:
        """Whatever still lives is ended, so that nothing stays stopped."""
        while self._signal(signal.SIGKILL):
            self.runs_on(0.1)
        self.process.wait()
        self.process.stdout.close()
        signal.signal(signal.SIGTERM, self._on_term)

    def runs_on(self, seconds: float) -> bool:
        """Waits; whether the program still runs then."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
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
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(process.name)] = int(parent)
                    if self.mark in (process / "environ").read_bytes():
                        found.add(int(process.name))
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return found
