"""Notices that a running plan has lost nodes which it needs, where Ray would wait for them without an end.

Ray starts the actors of a lost node again, and what they were working on waits for them. Where the nodes that are left
have no room for them, and no new node comes, that is for ever: the plan has to be made again, smaller.
"""

import time

from ray.data import Dataset

from cluster.budget import Stage, require_room
from cluster.failures import UserError
from cluster.ray_internals import at_each_step
from cluster.session import living_nodes

LOOK_EVERY_S = 2.0
GRACE_S = 30.0
"""How long a new node is waited for."""


class NodesLost(Exception):
    """The living nodes cannot hold the plan any more."""


class NodeWatch:
    """Raises NodesLost when the stages of a plan have had no room on the living nodes for `GRACE_S`."""

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
    """Watches over the execution of a dataset whose actor pools are `stages`."""
    at_each_step(dataset, NodeWatch(stages).look)
