"""A real head node with dashboard, job server and token, and a connection to it that can be cut."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import requests

TOKEN = "a-token-of-this-test-0123456789abcdef"


class Head(NamedTuple):
    """dashboard: URL for jobs; address: host:port for drivers."""

    dashboard: str
    address: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def ray_head(**resources: int) -> Iterator[Head]:
    """`ray start --head` with token authentication; afterwards only this head is ended."""
    for attempt in range(3):
        with _started(resources) as head:
            if head or attempt == 2:
                assert head, "no head came up"
                yield head
                return


@contextlib.contextmanager
def _started(resources: dict[str, int]) -> Iterator[Head | None]:
    """One attempt. Yields None if the head gives up: Ray allows a node 30 s, which a busy machine may exceed."""
    folder = tempfile.mkdtemp(prefix="head", dir="/tmp")  # short: the path of a socket may have only 107 characters
    ports = {name: free_port() for name in ("port", "dashboard-port", "ray-client-server-port")}
    ports |= {name: free_port() for name in ("dashboard-agent-listen-port", "dashboard-agent-grpc-port")}
    command = [sys.executable, "-c", "import sys; from ray.scripts.scripts import main; sys.exit(main())"]
    command += ["start", "--head", "--block", f"--temp-dir={folder}", "--disable-usage-stats"]
    command += [f"--{name}={port}" for name, port in (ports | {"object-store-memory": 200_000_000}).items()]
    command += [f"--{name.replace('_', '-')}={amount}" for name, amount in resources.items()]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    head = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = Head(f"http://127.0.0.1:{ports['dashboard-port']}", f"127.0.0.1:{ports['port']}")
        while head.poll() is None and not _answers(found.dashboard):
            time.sleep(0.5)
        yield found if head.poll() is None else None
    finally:
        head.terminate()  # with --block it also ends its own processes
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(timeout=30)
        _end_all_that_names(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end_all_that_names(folder: str) -> None:
    """Ends the processes that a killed head left behind, which have its folder in their arguments."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if f"{folder}/".encode() in process.read_bytes():
                os.kill(int(process.parent.name), signal.SIGKILL)


def _answers(address: str) -> bool:
    """Whether the dashboard answers and its agent can take jobs."""
    with contextlib.suppress(requests.RequestException, LookupError):
        answer = requests.get(f"{address}/nodes?view=summary", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=5)
        return any(node.get("agent") for node in answer.json()["data"]["summary"])
    return False


class Wire:
    """A TCP port that forwards to another one, and can be cut together with all its connections."""

    def __init__(self, port: int):
        self.target = port
        self.ends: list[socket.socket] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self.ends.clear()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                self.ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_copy, args=(source, sink), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
