"""Notices that a running plan has lost nodes which it needs, where Ray would wait for them without an end.

Ray starts the actors of a lost node again, and what they were working on waits for them. Where the nodes that are left
have no room for them, and no new node comes, that is for ever: the plan has to be made again, smaller.
"""

import time
from typing import Any

from ray.data import Dataset
from ray.data._internal.execution.execution_callback import ExecutionCallback

from cluster.budget import Stage, require_room
from cluster.failures import UserError
from cluster.session import living_nodes

LOOK_EVERY_S = 2.0
GRACE_S = 30.0
"""How long a new node is waited for."""

LABELLING_STAGES = "emovox.stages"


class NodesLost(Exception):
    """The living nodes cannot hold the plan any more."""


class NodeWatch(ExecutionCallback):
    """Ends the execution by NodesLost when its stages have had no room on the living nodes for `GRACE_S`."""

    def __init__(self):
        self.looked = time.monotonic()
        self.lacking_since: float | None = None

    def on_execution_step(self, executor: Any) -> None:
        now = time.monotonic()
        if now < self.looked + LOOK_EVERY_S:
            return
        self.looked = now
        try:
            require_room(executor._data_context.get_config(LABELLING_STAGES), living_nodes())
            self.lacking_since = None
        except UserError as lack:
            self.lacking_since = self.lacking_since or now
            if now > self.lacking_since + GRACE_S:
                raise NodesLost(str(lack)) from lack


def watch(dataset: Dataset, stages: list[Stage]) -> None:
    """Watches over the execution of a dataset whose actor pools are `stages`."""
    dataset.context.set_config(LABELLING_STAGES, stages)
    dataset.context.custom_execution_callback_classes.append(NodeWatch)
