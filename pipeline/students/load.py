"""A student from its file, with the front end that it stands on."""

from cluster import storage
from cluster.failures import UserError
from modeling.speech.whisper import WhisperEncoder
from modeling.speech.whisper_files import read_encoder
from modeling.students.build import Student, WhisperConfig
from modeling.students.checkpoint import load_student
from modeling.threads import torch_threads
from pipeline.assets.front_ends import front_end
from pipeline.students.files import DEFAULT_STUDENT, student_file, student_uri

FRONT_END_FILE = "front_end.safetensors"
"""Beside a student whose front end is in no package."""


def read_student(name_or_uri: str = DEFAULT_STUDENT) -> Student:
    """A shipped student by name, or the one in the file that `student_file` names, with its front end.

    Use: `read_student().predict(wave, sample_rate)`. Raises UserError if it is no student, or its front end cannot be had.
    """
    file_uri = student_file(student_uri(name_or_uri))

    def front_end_of(config: WhisperConfig, sha256: str) -> WhisperEncoder:
        return _front_end_beside(file_uri, config, sha256) or front_end(config, sha256)

    try:
        with torch_threads(1):  # hundreds of short operations
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
