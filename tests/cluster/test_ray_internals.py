"""What `cluster/ray_internals.py` takes from Ray's private parts does what it says with the Ray that is installed."""

import pytest
import ray
import ray.data

from cluster.ray_internals import at_each_step


class Enough(Exception):
    pass


def test_a_look_at_each_step_sees_the_execution_and_ends_it_by_raising(ray_session):
    looks = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            raise Enough

    dataset = ray.data.range(4, override_num_blocks=4).map_batches(lambda rows: rows)
    at_each_step(dataset, look)
    with pytest.raises(Enough):
        dataset.materialize()
    assert len(looks) == 3
