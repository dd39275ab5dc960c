"""The application in replicas of Ray Serve: many at once, on the nodes of a cluster."""

import logging
import threading
from collections.abc import Callable

from ray import serve
from ray.serve.config import HTTPOptions
from starlette.applications import Starlette

log = logging.getLogger(__name__)

NAME = "emovox"
ONGOING = 100
"""Requests and live connections of a replica; further ones go to another, or wait."""


def serve_on_ray(build: Callable[[], Starlette], host: str, port: int, replicas: int, *, gpu: bool, told: str) -> None:
    """Serves until it is interrupted. build: makes the application in each replica. Wants a Ray session.

    The application alone is taken away at the end: others of the same cluster may use Serve too.
    """

    def application() -> Starlette:  # Serve takes plain functions only
        return build()

    serve.start(http_options=HTTPOptions(host=host, port=port))
    deployment = serve.deployment(
        name=NAME,
        num_replicas=replicas,
        max_ongoing_requests=ONGOING,
        ray_actor_options={"num_cpus": 1, "num_gpus": int(gpu)},
    )(serve.ingress(application)())
    try:
        serve.run(deployment.bind(), name=NAME, route_prefix="/")
        log.info("%s", told.format(port=port))
        threading.Event().wait()
    finally:
        serve.delete(NAME)
