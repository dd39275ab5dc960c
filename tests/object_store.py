"""A real S3 server for tests: SeaweedFS from PyPI on 127.0.0.1, with its own credentials."""

import contextlib
import json
import os
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
START_SECONDS = 60


def weed() -> str | None:
    return shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """Starts the server and yields the environment variables that lead to it."""
    config = folder / "s3.json"
    identity = {"name": "t", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    config.write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3 = _free_ports(4)
    grpc = _free_ports(4)
    ports = [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}"]
    ports += [f"-{name}.port.grpc={port}" for name, port in zip(("master", "volume", "filer", "s3"), grpc, strict=True)]
    command = [weed(), "server", f"-dir={folder}", "-s3", "-filer", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", *ports]
    command += [f"-s3.config={config}", "-master.telemetry=false", "-volume.max=20", "-master.volumeSizeLimitMB=64"]
    with open(folder / "weed.log", "w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    endpoint = f"http://127.0.0.1:{s3}"
    try:
        _wait_until_up(endpoint, server, folder / "weed.log")
        yield {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.kill()
        server.wait()


def _wait_until_up(endpoint: str, server: subprocess.Popen, log: Path) -> None:
    """Polls until the server answers anything at all (403 without credentials)."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(endpoint, timeout=2)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the S3 server did not start: {log.read_text()[-1000:]}")
