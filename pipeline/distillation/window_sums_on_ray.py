"""Sums over the windows of a large distillation set, from Ray's workers."""

import pickle
from collections.abc import Iterator
from dataclasses import asdict
from typing import cast

import pyarrow as pa
import ray

from cluster.actor_pools import actor_pool
from cluster.budget import Stage
from cluster.session import session, wait_for_room, worker_cores
from cluster.worker_exit import arm_exit_alarm
from pipeline.dataset.set_record import Part
from pipeline.distillation.window_sums import GroupSums, WindowSums

GROUP_SCHEMA = pa.schema(
    [("number", pa.int64()), ("parts", pa.list_(pa.struct([("uri", pa.string()), ("seal", pa.string())])))]
)


class GroupWorker:
    """Ray Data callable: a row with a number and the parts of a group -> the same number and its sums, pickled."""

    def __init__(self, windows: ray.ObjectRef):
        arm_exit_alarm()
        self.windows: WindowSums = ray.get(windows)

    def __call__(self, rows: pa.Table) -> pa.Table:
        groups = [[Part(**part) for part in parts] for parts in rows["parts"].to_pylist()]
        sums = [pickle.dumps(self.windows.of_parts(parts)) for parts in groups]
        return pa.table({"number": rows["number"], "sums": pa.array(sums, pa.large_binary())})


def sums_on_ray(windows: WindowSums, groups: list[list[Part]], address: str | None) -> Iterator[GroupSums]:
    """Of each group, in the order of the groups."""
    with session(address):
        stage = Stage(name="student", workers=min(worker_cores(address), len(groups)))
        wait_for_room([stage])
        rows = [[{"number": number, "parts": [asdict(part) for part in parts]}] for number, parts in enumerate(groups)]
        tables = [pa.Table.from_pylist(row, schema=GROUP_SCHEMA) for row in rows]
        batches = (
            ray.data.from_arrow(tables)
            .map_batches(GroupWorker, fn_constructor_args=(ray.put(windows),), **actor_pool(stage, batch_size=None))
            .iter_batches(batch_format="pyarrow", batch_size=None)
        )
        waiting: dict[int, bytes] = {}
        following = 0
        for batch in batches:
            waiting |= {row["number"]: row["sums"] for row in cast(pa.Table, batch).to_pylist()}
            while following in waiting:
                yield pickle.loads(waiting.pop(following))
                following += 1
