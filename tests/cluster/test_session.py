"""Where Ray runs: an address that does not answer is said in one line; a plan too large is refused, not waited for."""

import pytest
import ray

from cluster.budget import Stage
from cluster.failures import UserError
from cluster.session import _start, session, wait_for_room, worker_cores


def test_the_embedded_session_has_room_for_the_labelling_plan(ray_session):
    wait_for_room([Stage(name="face cropping", workers=worker_cores(None)), Stage(name="teacher", workers=1)])


def test_a_plan_too_large_for_the_session_is_refused(ray_session):
    with pytest.raises(UserError, match="'face cropping' needs 1000 workers of 1 CPU each; the 1 nodes have room for"):
        wait_for_room([Stage(name="face cropping", workers=1000)])
    with pytest.raises(UserError, match="'teacher' needs a node with 1 CPU, 1 GPU"):
        wait_for_room([Stage(name="teacher", workers=1, gpus=1.0)])


def test_a_session_inside_a_session_uses_the_same_ray(ray_session):
    before = ray.get_runtime_context().get_job_id()
    with session(None):
        assert ray.get_runtime_context().get_job_id() == before
    assert ray.is_initialized()


def test_a_ray_client_is_refused_with_what_to_do():
    with pytest.raises(UserError, match="ray://head:10001: .*emovox submit JOB"):
        _start("ray://head:10001")
