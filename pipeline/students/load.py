"""Which file a student is, what it holds, and its fingerprint."""

from importlib import resources

from cluster import storage
from cluster.failures import UserError
from modeling.speech.whisper import WhisperEncoder
from modeling.speech.whisper_files import read_encoder
from modeling.students.base import WhisperConfig
from modeling.students.build import Student
from modeling.students.checkpoint import load_student
from pipeline.assets.front_ends import front_end

STUDENT_FILE = "student.safetensors"
BEST_FILE = "student_best.safetensors"
"""What training writes into its folder: the student after the last epoch, and that of the best epoch."""

FRONT_END_FILE = "front_end.safetensors"
"""Beside a student whose front end is in no package."""


DEFAULT_STUDENT = "whisper-tiny"
SHIPPED_STUDENTS = (DEFAULT_STUDENT,)
"""By name: the students that come with the project, as folders of `modeling/students/weights`."""


def student_uri(name_or_uri: str) -> str:
    """The folder of a shipped student, or the absolute URI of another."""
    if name_or_uri in SHIPPED_STUDENTS:
        return str(resources.files("modeling.students") / "weights" / name_or_uri)
    return storage.absolute(name_or_uri)


def shipped_exams(name: str) -> list[dict]:
    """Contents of the zero_shot.json files that are kept beside a shipped student, one a corpus."""
    names = sorted(file.name for file in (resources.files("modeling.students") / "weights" / name).iterdir())
    found = [each for each in names if each.startswith("zero_shot_") and each.endswith(".json")]
    return [storage.read_json(storage.join(student_uri(name), each)) for each in found]


def student_file(uri: str) -> str:
    """The file itself, or `STUDENT_FILE` in the folder that training wrote."""
    return storage.join(uri, STUDENT_FILE) if storage.is_folder(uri) else uri


def student_fingerprint(uri: str) -> str:
    """sha256 of the student's file, given as for `read_student`. What was fitted to one student names it by this."""
    return storage.sha256(storage.read_bytes(student_file(student_uri(uri))))


def read_student(name_or_uri: str = DEFAULT_STUDENT) -> Student:
    """A shipped student by name, or the one in the file that `student_file` names, with its front end.

    Use: `read_student().predict(wave, sample_rate)`. Raises UserError if it is no student, or its front end cannot be had.
    """
    file_uri = student_file(student_uri(name_or_uri))

    def front_end_of(config: WhisperConfig, sha256: str) -> WhisperEncoder:
        return _front_end_beside(file_uri, config, sha256) or front_end(config, sha256)

    try:
        return load_student(storage.read_bytes(file_uri), front_end_of)
    except ValueError as error:
        raise UserError(f"{file_uri}: {error}") from error


def _front_end_beside(student_uri: str, config: WhisperConfig, sha256: str) -> WhisperEncoder | None:
    """What training wrote beside the student; None where there is none. Raises UserError if it is another or damaged."""
    uri = f"{student_uri.rpartition('/')[0]}/{FRONT_END_FILE}"
    if not storage.exists(uri):
        return None
    try:
        encoder = read_encoder(storage.read_bytes(uri), config.front_end, config.layers)
    except ValueError as error:
        raise UserError(f"{uri}: {error}; copy it again from the folder that training wrote") from error
    if encoder.fingerprint() != sha256:
        raise UserError(
            f"{uri}: of another student than {student_uri}; keep each student in the folder that training wrote"
        )
    return encoder


def student_meta(student: Student) -> dict:
    """What its training wrote beside the weights; empty for one that was not read from a file."""
    return getattr(student, "meta", None) or {}
