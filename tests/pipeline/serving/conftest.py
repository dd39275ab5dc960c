"""A served student for the tests of this folder."""

from collections.abc import Generator

import pytest
import torch

from modeling.students.build import Student, StudentConfig, build_student
from tests.support.serving import serving


@pytest.fixture(scope="session")
def small_student() -> Student:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = build_student(StudentConfig(widths=(8, 16, 16), embedding=32)).eval()
    student.meta = {"prior": [0.6, 0.1, 0.05, 0.1, 0.05, 0.04, 0.03, 0.03], "prior_strength": 1.0}
    return student


@pytest.fixture(scope="module")
def address(small_student) -> Generator[str]:
    with serving(small_student) as served:
        yield served
