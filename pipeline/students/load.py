"""Which file a student is, what it holds, and its fingerprint."""

from cluster import storage
from cluster.failures import UserError
from modeling.students.build import Student
from modeling.students.checkpoint import load_student

STUDENT_FILE = "student.safetensors"
BEST_FILE = "student_best.safetensors"
"""What training writes into its folder: the student after the last epoch, and that of the best epoch."""


def student_file(uri: str) -> str:
    """The file itself, or `STUDENT_FILE` in the folder that training wrote."""
    return storage.join(uri, STUDENT_FILE) if storage.is_folder(uri) else uri


def student_fingerprint(uri: str) -> str:
    """sha256 of the student's file, given as for `student_file`. What was fitted to one student names it by this."""
    return storage.sha256(storage.read_bytes(student_file(uri)))


def read_student(uri: str) -> Student:
    """The student in the file that `student_file` names. Raises UserError if it is none."""
    file_uri = student_file(uri)
    try:
        return load_student(storage.read_bytes(file_uri))
    except ValueError as error:
        raise UserError(f"{file_uri}: {error}") from error


def student_meta(student: Student) -> dict:
    """What its training wrote beside the weights; empty for one that was not read from a file."""
    return getattr(student, "meta", None) or {}
