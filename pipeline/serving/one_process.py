"""The application in this process, under uvicorn: what a laptop needs."""

import logging
import socket

import uvicorn
from starlette.applications import Starlette

from cluster.failures import UserError
from pipeline.serving.live import MOST_MESSAGE_BYTES

log = logging.getLogger(__name__)


def serve_here(app: Starlette, host: str, port: int, told: str) -> None:
    """Serves until it is interrupted. told: logged when requests are taken; {port} in it is the port.

    Raises UserError if nothing can listen at this address.
    """
    with _listening(host, port) as listener:
        log.info("%s", told.format(port=listener.getsockname()[1]))
        config = uvicorn.Config(
            app,
            log_level="warning",
            ws_max_size=MOST_MESSAGE_BYTES + 1,
            timeout_graceful_shutdown=5,
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[listener])


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: nothing can listen there ({error.strerror}); give others"
        ) from error
    return listener
