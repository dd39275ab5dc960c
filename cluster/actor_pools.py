"""Arguments that make Ray Data run a stage of `cluster.budget` as a pool of actors."""

from typing import Any

from ray.data import ActorPoolStrategy

from cluster.budget import Stage


def actor_pool(stage: Stage, *, batch_size: int | None, tasks_in_flight: int | None = None) -> dict[str, Any]:
    """Arguments for `Dataset.map_batches`: Arrow batches, the size of the pool, and what each actor needs from its node.

    batch_size: rows per call; None: a whole block. tasks_in_flight: tasks queued at each actor; None: Ray decides.
    """
    needs = {
        "num_cpus": stage.cpus,
        "num_gpus": stage.gpus or None,
        "memory": stage.memory or None,
        "resources": dict(stage.resources) or None,
    }
    compute = ActorPoolStrategy(
        min_size=stage.workers,
        max_size=stage.most_workers or stage.workers,
        initial_size=stage.workers,
        max_tasks_in_flight_per_actor=tasks_in_flight,
    )
    return {
        "batch_format": "pyarrow",
        "batch_size": batch_size,
        "compute": compute,
        **{name: amount for name, amount in needs.items() if amount is not None},
    }
