import pytest

from cluster.budget import GIB, Stage, require_room, room_for
from cluster.failures import UserError

CROPPING = Stage(name="face cropping", workers=2)
TEACHER = Stage(name="teacher", workers=1, gpus=0.5)


def test_a_plan_that_fits_is_let_through():
    require_room([CROPPING, TEACHER], [{"CPU": 4}, {"CPU": 2, "GPU": 1}])
    require_room([CROPPING, TEACHER], [{"CPU": 2}, {"CPU": 1, "GPU": 1}])


def test_a_stage_that_no_node_can_hold_is_named_with_what_is_missing():
    with pytest.raises(
        UserError, match=r"'teacher' needs a node with 1 CPU, 0.5 GPU .*; of 2 nodes the nearest has 8 CPU, 0 GPU"
    ):
        require_room([CROPPING, TEACHER], [{"CPU": 8}, {"CPU": 2}])
    decoding = Stage(name="face cropping", workers=1, resources={"decode": 1}, memory=2 * GIB)
    with pytest.raises(
        UserError, match=r"1 CPU, 2 GiB of memory, 1 decode .*nearest has 4 CPU, 1 GiB of memory, 1 dec"
    ):
        require_room([decoding], [{"CPU": 4, "memory": GIB, "decode": 1}])


def test_workers_are_placed_whole_on_nodes():
    """Two nodes with half of what is needed each are no node."""
    wide = Stage(name="wide", workers=2, cpus=3)
    require_room([wide], [{"CPU": 3}, {"CPU": 3}])
    with pytest.raises(UserError, match=r"'wide' needs 2 workers of 3 CPU each; the 2 nodes have room for 1"):
        require_room([wide], [{"CPU": 4}, {"CPU": 2}])


def test_plain_workers_leave_special_nodes_to_those_that_need_them():
    require_room([CROPPING, TEACHER], [{"CPU": 2, "GPU": 1}, {"CPU": 2}])
    require_room(
        [CROPPING, Stage(name="teacher", workers=2, resources={"gpu_node": 1})],
        [{"CPU": 2, "gpu_node": 2}, {"CPU": 2, "decode": 2}],
    )


def test_cpus_for_tasks_that_read_are_not_given_to_actors():
    require_room([CROPPING], [{"CPU": 2}])
    with pytest.raises(UserError, match=r"leaves 1 CPU for the tasks that read, which need 2"):
        require_room([CROPPING], [{"CPU": 3}], task_cpus=2)


def test_fractions_of_one_gpu_add_up():
    tenth = Stage(name="teacher", workers=10, gpus=0.1)
    require_room([tenth], [{"CPU": 10, "GPU": 1}])
    with pytest.raises(UserError, match="needs 3 workers of 1 CPU, 0.5 GPU each; the 1 nodes have room for 2"):
        require_room([Stage(name="teacher", workers=3, gpus=0.5)], [{"CPU": 8, "GPU": 1}])


def test_room_is_what_the_other_stages_leave():
    nodes = [{"CPU": 4}, {"CPU": 3, "GPU": 1}]
    assert room_for(CROPPING, [TEACHER], nodes) == 6
    assert room_for(Stage(name="face cropping", workers=1, resources={"decode": 1}), [TEACHER], nodes) == 0
