"""Notices that a running plan has lost nodes that it needs, for which Ray would wait forever.

Ray restarts the actors of a lost node, and their work waits for them. If the remaining nodes have no room for them and no
new node comes, the wait never ends, and a new, smaller plan is needed.
"""

import time

from ray.data import Dataset

from cluster.budget import Stage, require_room
from cluster.failures import UserError
from cluster.ray_internals import at_each_step
from cluster.session import living_nodes

LOOK_EVERY_S = 2.0
GRACE_S = 30.0
"""How long the plan waits for a new node."""


class NodesLost(Exception):
    """The living nodes can no longer hold the plan."""


class NodeWatch:
    """Raises NodesLost when a plan's stages have not fitted on the living nodes for `GRACE_S`."""

    def __init__(self, stages: list[Stage]):
        self.stages = stages
        self.looked = time.monotonic()
        self.lacking_since: float | None = None

    def look(self) -> None:
        now = time.monotonic()
        if now < self.looked + LOOK_EVERY_S:
            return
        self.looked = now
        try:
            require_room(self.stages, living_nodes())
            self.lacking_since = None
        except UserError as lack:
            self.lacking_since = self.lacking_since or now
            if now > self.lacking_since + GRACE_S:
                raise NodesLost(str(lack)) from lack


def watch(dataset: Dataset, stages: list[Stage]) -> None:
    """Watches the execution of a dataset whose actor pools are `stages`."""
    at_each_step(dataset, NodeWatch(stages).look)
