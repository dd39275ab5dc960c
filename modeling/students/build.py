"""The kinds of student. `build_student` makes a new one; `checkpoint.load_student` reads one from a file."""

from pathlib import Path

from modeling.speech.ssl_front_end import front_end_url, load_front_end
from modeling.students.base import Student
from modeling.students.compact import CompactStudent
from modeling.students.configs import StudentConfig, WhisperConfig
from modeling.students.self_supervised import SslStudent
from modeling.students.vggvox import PaperStudent
from modeling.students.whisper import WhisperStudent

__all__ = [
    "CompactStudent",
    "PaperStudent",
    "SslStudent",
    "Student",
    "StudentConfig",
    "WhisperConfig",
    "WhisperStudent",
    "build_student",
]

STUDENTS = {"paper": PaperStudent, "compact": CompactStudent, "ssl": SslStudent}


def build_student(config: StudentConfig, front_end: bytes | str | Path | None = None) -> Student:
    """A new student with random weights, drawn from torch's global generator.

    front_end: for an ssl student, the weights that torchaudio publishes for its bundle, as a .pth file or its bytes.
    Raises a ValueError that says what to fetch if an ssl student gets none or the wrong ones, or if another student gets any.
    """
    student = STUDENTS[config.kind](config)
    if isinstance(student, SslStudent):
        if front_end is None:
            url = front_end_url(config.bundle)
            raise ValueError(f"an ssl student learns nothing on random weights: give the front end's file, {url}")
        load_front_end(student.front_end, config.bundle, front_end)
    elif front_end is not None:
        raise ValueError(f"a student of kind {config.kind!r} has no front end; leave its file out, or choose 'ssl'")
    return student
