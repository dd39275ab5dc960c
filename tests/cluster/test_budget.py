import pytest

from cluster.budget import Stage, require_room
from cluster.failures import UserError

CROPPING = Stage(name="face cropping", workers=2)
TEACHER = Stage(name="teacher", workers=1, gpus=0.5)


def test_a_plan_that_fits_is_let_through():
    require_room([CROPPING, TEACHER], [{"CPU": 4}, {"CPU": 2, "GPU": 1}])


def test_a_stage_that_no_node_can_hold_is_named_with_what_is_missing():
    with pytest.raises(
        UserError, match=r"'teacher' needs a node with 1 CPU and 0.5 GPU.*largest of 2 nodes has 8 CPU and 0 GPU"
    ):
        require_room([CROPPING, TEACHER], [{"CPU": 8}, {"CPU": 2}])


def test_cpus_for_reading_and_writing_are_not_given_to_actors():
    with pytest.raises(UserError, match=r"needs 4 CPU, of which 2 for reading and writing; the cluster has 3"):
        require_room([CROPPING], [{"CPU": 3}])


def test_fractions_of_one_gpu_add_up():
    require_room([Stage(name="teacher", workers=2, gpus=0.5)], [{"CPU": 8, "GPU": 1}])
    with pytest.raises(UserError, match="needs 1.5 GPU"):
        require_room([Stage(name="teacher", workers=3, gpus=0.5)], [{"CPU": 8, "GPU": 1}])
