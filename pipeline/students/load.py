"""Which file a student is, what it holds, and its fingerprint."""

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


def student_file(uri: str) -> str:
    """The file itself, or `STUDENT_FILE` in the folder that training wrote."""
    return storage.join(uri, STUDENT_FILE) if storage.is_folder(uri) else uri


def student_fingerprint(uri: str) -> str:
    """sha256 of the student's file, given as for `student_file`. What was fitted to one student names it by this."""
    return storage.sha256(storage.read_bytes(student_file(uri)))


def read_student(uri: str) -> Student:
    """The student in the file that `student_file` names, with its front end. Raises UserError if it is none."""
    file_uri = student_file(uri)

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
