"""Which file a student is, by name or place, and its fingerprint. Nothing is loaded here."""

from importlib import resources
from typing import Any

from cluster import storage

STUDENT_FILE = "student.safetensors"
BEST_FILE = "student_best.safetensors"
"""What training writes into its folder: the student after the last epoch, and that of the best epoch."""

DEFAULT_STUDENT = "whisper-tiny"
SHIPPED_STUDENTS = (DEFAULT_STUDENT,)
"""By name: the students that come with the project, as folders of `modeling/students/weights`."""


def student_uri(name_or_uri: str) -> str:
    """The folder of a shipped student, or the absolute URI of another."""
    if name_or_uri in SHIPPED_STUDENTS:
        return str(resources.files("modeling.students") / "weights" / name_or_uri)
    return storage.absolute(name_or_uri)


def student_file(uri: str) -> str:
    """The file itself, or `STUDENT_FILE` in the folder that training wrote."""
    return storage.join(uri, STUDENT_FILE) if storage.is_folder(uri) else uri


def student_fingerprint(uri: str) -> str:
    """sha256 of the student's file, given as for `read_student`. What was fitted to one student names it by this."""
    return storage.sha256(storage.read_bytes(student_file(student_uri(uri))))


def shipped_exams(name: str) -> list[dict[str, Any]]:
    """Contents of the zero_shot.json files that are kept beside a shipped student, one a corpus."""
    names = sorted(file.name for file in (resources.files("modeling.students") / "weights" / name).iterdir())
    found = [each for each in names if each.startswith("zero_shot_") and each.endswith(".json")]
    return [storage.read_json(storage.join(student_uri(name), each)) for each in found]
