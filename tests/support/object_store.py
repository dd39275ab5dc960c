"""A real S3 server for tests: SeaweedFS from PyPI on 127.0.0.1, with its own credentials."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

KEY, SECRET = "emovox-test-key", "emovox-test-secret-do-not-print"
READER_KEY, OUTSIDER_KEY, WRITER_KEY = "emovox-test-reader", "emovox-test-outsider", "emovox-test-writer"
RIGHTS = {KEY: ["Admin"], READER_KEY: ["Read", "List"], OUTSIDER_KEY: ["Read:other"], WRITER_KEY: ["Read", "Write"]}
"""Key -> rights; all keys have the same secret."""
START_SECONDS = 60


def weed() -> str | None:
    return shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def free_ports(n: int) -> list[int]:
    """Ports below the range of outgoing connections, so that a server that is down for a while can get its port again."""
    ports = []
    for port in random.sample(range(20_000, 32_000), 1000):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == n:
            return ports
    raise RuntimeError(f"no {n} free ports")


class S3Server:
    """A server that can be stopped and started again on the same ports with the same objects."""

    def __init__(self, folder: Path):
        identities = [
            {"name": key, "credentials": [{"accessKey": key, "secretKey": SECRET}], "actions": actions}
            for key, actions in RIGHTS.items()
        ]
        config = folder / "s3.json"
        config.write_text(json.dumps({"identities": identities}))
        master, volume, filer, s3, *grpc = free_ports(8)
        ports = [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}"]
        for name, port in zip(("master", "volume", "filer", "s3"), grpc, strict=True):
            ports.append(f"-{name}.port.grpc={port}")
        self.command = [weed(), "server", f"-dir={folder}", "-s3", "-filer", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"]
        self.command += [*ports, f"-s3.config={config}", "-master.telemetry=false", "-volume.max=20"]
        self.command += ["-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0"]
        self.log = folder / "weed.log"
        self.endpoint = f"http://127.0.0.1:{s3}"
        self.process: subprocess.Popen | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that point to the server."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=subprocess.STDOUT)
        self._wait_until_up()

    def stop(self) -> None:
        """Stops it at once, like a power failure; connections to its port are refused from then on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _wait_until_up(self) -> None:
        """Polls until the server gives any answer (403 without credentials)."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            try:
                urllib.request.urlopen(self.endpoint, timeout=2)
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"the S3 server did not start: {self.log.read_text()[-1000:]}")


@contextlib.contextmanager
def running_server(folder: Path) -> Iterator[S3Server]:
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Starts the server and yields the environment variables that point to it."""
    with running_server(folder) as server:
        yield server.environment
