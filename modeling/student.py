"""The two students by name. `build_student` makes a new one, `student_checkpoint.load_student` reads one."""

from modeling.compact_student import CompactStudent
from modeling.paper_student import PaperStudent
from modeling.student_base import Student, StudentConfig

__all__ = ["CompactStudent", "PaperStudent", "Student", "StudentConfig", "build_student"]

STUDENTS = {"paper": PaperStudent, "compact": CompactStudent}


def build_student(config: StudentConfig) -> Student:
    """A new student with random weights, drawn from torch's global generator."""
    return STUDENTS[config.kind](config)
