"""Students' answers on a distillation set, from Ray's workers."""

from collections.abc import Iterator
from typing import cast

import pyarrow as pa
import ray

from cluster.actor_pools import actor_pool
from cluster.budget import Stage
from cluster.session import session, wait_for_room, worker_cores
from cluster.worker_exit import arm_exit_alarm
from modeling.students.build import Student
from pipeline.dataset.utterances import read_utterances
from pipeline.evaluation.answers import ROWS_PER_BATCH, SCORED_COLUMNS, StudentScorer

READING_CPUS = 2.0
"""CPUs that the scoring workers leave free for Ray Data's tasks, which read the parts and filter their rows."""


class RayScorer:
    """Ray Data callable: `StudentScorer` with the students from the object store."""

    def __init__(self, students: ray.ObjectRef):
        arm_exit_alarm()
        self.score = StudentScorer(ray.get(students))

    def __call__(self, rows: pa.Table) -> pa.Table:
        return self.score(rows)


def answers_on_ray(
    students: dict[str, Student], labels_uri: str, utterances: int, address: str | None
) -> Iterator[pa.Table]:
    """As `answers_here`, in any order."""
    with session(address):
        stage = Stage(name="student", workers=min(worker_cores(address), -(-utterances // ROWS_PER_BATCH)))
        wait_for_room([stage], task_cpus=READING_CPUS)
        scored = read_utterances(labels_uri, SCORED_COLUMNS).map_batches(
            RayScorer,
            fn_constructor_args=(ray.put(students),),
            **actor_pool(stage, batch_size=ROWS_PER_BATCH),
        )
        for batch in scored.iter_batches(batch_format="pyarrow", batch_size=None):
            yield cast(pa.Table, batch)
