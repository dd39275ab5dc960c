"""Which file a student is, and its fingerprint."""

from cluster import storage

STUDENT_FILE = "student.safetensors"


def student_file(uri: str) -> str:
    """The file itself, or `student.safetensors` in the folder that training wrote."""
    return storage.join(uri, STUDENT_FILE) if storage.is_folder(uri) else uri


def student_fingerprint(uri: str) -> str:
    """sha256 of the student's file, given as for `student_file`. What was fitted to one student names it by this."""
    return storage.sha256(storage.read_bytes(student_file(uri)))
