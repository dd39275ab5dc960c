"""Which file a student is, and its fingerprint."""

from cluster import storage
from cluster.failures import UserError
from modeling.students.build import Student
from modeling.students.checkpoint import load_student

STUDENT_FILE = "student.safetensors"


def student_file(uri: str) -> str:
    """The file itself, or `student.safetensors` in the folder that training wrote."""
    return storage.join(uri, STUDENT_FILE) if storage.is_folder(uri) else uri


def student_fingerprint(uri: str) -> str:
    """sha256 of the student's file, given as for `student_file`. What was fitted to one student names it by this."""
    return storage.sha256(storage.read_bytes(student_file(uri)))


def read_student(uri: str) -> Student:
    """The student at a path or s3:// URI, or `student.safetensors` in that folder. Raises UserError if it is not one."""
    file_uri = storage.join(uri, "student.safetensors") if storage.is_folder(uri) else uri
    try:
        return load_student(storage.read_bytes(file_uri))
    except ValueError as error:
        raise UserError(f"{file_uri}: {error}") from error


def student_meta(student: Student) -> dict:
    """What its training wrote beside the weights; empty for one that was not read from a file."""
    return getattr(student, "meta", None) or {}
