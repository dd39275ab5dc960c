"""What a plan's workers report to its driver: rows, seconds and bytes of each stage, and the item in work if one dies.

One Ray actor on the driver's node keeps the counts (`Tally`). Every worker has a `Meter` that reports to it, and to Ray's
metrics as `emovox_rows`, `emovox_stage_seconds` and `emovox_bytes` (Prometheus: `ray_emovox_...`), by stage.

Ray restarts a dead worker with the same task, without end. So a worker reports each item before it starts on it. Once
workers have died `MAX_DEATHS` times on the same item, the next worker is told to leave it out.
"""

import time
from collections import Counter
from dataclasses import dataclass
from typing import cast

import ray
from ray.actor import ActorHandle
from ray.util import metrics
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

MAX_DEATHS = 3
"""A node that leaves also interrupts innocent items; three deaths on the same item are no accident."""


@dataclass(frozen=True)
class StageCount:
    """Sums of one stage over all its workers; `seconds` adds up the work of each, it is not wall time."""

    rows: int = 0
    rejected: int = 0
    seconds: float = 0.0
    size_bytes: int = 0

    def __add__(self, other: "StageCount") -> "StageCount":
        return StageCount(
            rows=self.rows + other.rows,
            rejected=self.rejected + other.rejected,
            seconds=self.seconds + other.seconds,
            size_bytes=self.size_bytes + other.size_bytes,
        )


Counts = dict[str, StageCount]
"""Stage name -> its sums."""


class Tally:
    """The actor that keeps the counts; start one with `start_tally`."""

    def __init__(self) -> None:
        self.stages: Counts = {}
        self.in_work: dict[str, str] = {}
        self.deaths: Counter[str] = Counter()
        self.began_at: float | None = None

    def begin(self, task: str) -> list[str]:
        """A worker starts a task. Returns the items that have killed too many workers."""
        self.began_at = self.began_at or time.time()
        if died_on := self.in_work.pop(task, None):
            self.deaths[died_on] += 1
        return [item for item, times in self.deaths.items() if times >= MAX_DEATHS]

    def take_up(self, task: str, item: str, stages: Counts) -> None:
        """A worker starts an item, or none for now (""). `stages`: its counts since its last report."""
        self.in_work[task] = item
        self.count(stages)

    def end(self, task: str) -> None:
        self.in_work.pop(task, None)

    def count(self, stages: Counts) -> None:
        for name, count in stages.items():
            self.stages[name] = self.stages.get(name, StageCount()) + count

    def began(self) -> float | None:
        """When the first worker started a task, in Unix seconds."""
        return self.began_at

    def counts(self) -> Counts:
        return self.stages


def start_tally() -> ActorHandle[Tally]:
    """Starts a tally on the driver's node. It ends when the last handle to it goes."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    options = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    return cast(ActorHandle[Tally], ray.remote(Tally).options(**options).remote())


class StageMetrics:
    """The same counts as Ray metrics; each worker exports its own."""

    def __init__(self) -> None:
        self.rows = metrics.Counter("emovox_rows", "utterances that went through", tag_keys=("stage", "outcome"))
        self.seconds = metrics.Counter("emovox_stage_seconds", "seconds of work", tag_keys=("stage",))
        self.bytes = metrics.Counter("emovox_bytes", "bytes that went through", tag_keys=("stage",))

    def add(self, stage: str, count: StageCount) -> None:
        for outcome, number in (("ok", count.rows - count.rejected), ("rejected", count.rejected)):
            if number:
                self.rows.inc(number, {"stage": stage, "outcome": outcome})
        if count.seconds > 0:
            self.seconds.inc(count.seconds, {"stage": stage})
        if count.size_bytes:
            self.bytes.inc(count.size_bytes, {"stage": stage})


class Meter:
    """A worker's counts, reported to the tally. Without a tally it does nothing, so a stage also runs as plain Python."""

    def __init__(self, tally: ActorHandle[Tally] | None = None):
        self.tally = tally
        self.task = ""
        self.unsent: Counts = {}
        self.metrics = None if tally is None else StageMetrics()

    def begin(self, task: str) -> set[str]:
        """Starts a task. Returns the items to leave out."""
        self.task = task
        return set() if self.tally is None else set(ray.get(self.tally.begin.remote(task)))

    def take_up(self, item: str) -> None:
        """Starts an item. Waits until the tally has noted it, since the item may kill this process."""
        if self.tally is not None:
            ray.get(self._told(self.tally, item))

    def put_down(self) -> None:
        """No item is in work until the next `take_up`: if this process dies meanwhile, no item is blamed."""
        if self.tally is not None:
            self._told(self.tally, "")

    def end(self) -> None:
        if self.tally is not None:
            self.send()
            self.tally.end.remote(self.task)

    def count(self, stage: str, rows: int = 0, rejected: int = 0, seconds: float = 0.0, size_bytes: int = 0) -> None:
        """Adds to the sums of a stage. They are sent with the next `take_up`, `end` or `send`."""
        if self.metrics is None:
            return
        added = StageCount(rows, rejected, seconds, size_bytes)
        self.unsent[stage] = self.unsent.get(stage, StageCount()) + added
        self.metrics.add(stage, added)

    def _told(self, tally: ActorHandle[Tally], item: str) -> "ray.ObjectRef[None]":
        unsent, self.unsent = self.unsent, {}
        return tally.take_up.remote(self.task, item, unsent)

    def send(self) -> None:
        if self.tally is not None and self.unsent:
            self.tally.count.remote(self.unsent)
            self.unsent = {}
