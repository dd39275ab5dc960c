"""Features of the clips of a large corpus, from Ray's workers."""

import pickle
from collections.abc import Iterator
from typing import cast

import pyarrow as pa
import ray

from cluster.actor_pools import actor_pool
from cluster.budget import Stage
from cluster.session import session, wait_for_room, worker_cores
from cluster.worker_exit import arm_exit_alarm
from modeling.students.build import Student
from pipeline.probe.clip_features import ClipAnswer, ClipReader, Wanted


class RayReader:
    """Ray Data callable: rows with `uri` -> the same with the answer, pickled."""

    def __init__(self, student: ray.ObjectRef, device: str, wanted: Wanted):
        arm_exit_alarm()
        self.read = ClipReader(ray.get(student), device, wanted)

    def __call__(self, rows: pa.Table) -> pa.Table:
        answers = [pickle.dumps(self.read(uri)) for uri in rows["uri"].to_pylist()]
        return pa.table({"uri": rows["uri"], "answer": pa.array(answers, pa.large_binary())})


def answers_on_ray(
    student: Student, uris: list[str], device: str, wanted: Wanted, address: str | None
) -> Iterator[tuple[str, ClipAnswer]]:
    """As `answers_here`, in any order. On GPUs, each worker takes one."""
    gpus = 0.0 if device == "cpu" else 1.0
    with session(address):
        workers = 1 if gpus else min(worker_cores(address), len(uris))
        stage = Stage(name="student", workers=workers, gpus=gpus)
        wait_for_room([stage])
        batches = (
            ray.data.from_arrow([pa.table({"uri": [uri]}) for uri in uris])
            .map_batches(
                RayReader,
                fn_constructor_args=(ray.put(student.cpu()), device, wanted),
                **actor_pool(stage, batch_size=None),
            )
            .iter_batches(batch_format="pyarrow", batch_size=None)
        )
        for batch in batches:
            for row in cast(pa.Table, batch).to_pylist():
                yield row["uri"], pickle.loads(row["answer"])
