"""A program that can be stopped for a while, with every process that it has started, and goes on where it was."""

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

MARK = "EMOVOX_BENCH_RUN"


class Pausable:
    """Runs a command whose output is kept in memory. Linux only: its processes are found by a mark in their environment, since
    those of Ray are no children of the one that started them.

    pauses: (begin, end) of each, Unix seconds.
    """

    def __init__(self, command: Sequence[str], cwd: str | Path):
        self.mark = f"{MARK}={uuid.uuid4().hex}".encode()
        name, _, value = self.mark.decode().partition("=")
        self.process = subprocess.Popen(command, cwd=cwd, env=os.environ | {name: value}, stdout=subprocess.PIPE)
        self.pauses: list[tuple[float, float]] = []

    def __enter__(self) -> "Pausable":
        return self

    def __exit__(self, *error: object) -> None:
        """Whatever still lives is ended."""
        if self.process.poll() is None:
            self._signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

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

    def _signal(self, number: signal.Signals) -> None:
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self.mark in (process / "environ").read_bytes():
                    os.kill(int(process.name), number)
