"""How many processes label starts where none is asked for."""

import pytest

from cluster.budget import GIB
from pipeline.labelling.placement import LabelPlan


@pytest.mark.parametrize(("memory", "croppers"), [(None, 16), (64 * GIB, 16), (8 * GIB, 6), (0.5 * GIB, 1)])
def test_a_machine_with_little_memory_for_its_cores_gets_fewer_workers(memory, croppers, caplog):
    assert LabelPlan()._local_croppers(16, memory) == croppers
    assert ("free memory hold no more" in caplog.text) == (croppers < 16)
