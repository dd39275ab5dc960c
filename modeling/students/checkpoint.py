"""A trained student in one safetensors file: its weights, with its config and history as JSON in the file's metadata.

An ssl student's file also holds its front end (378 MB for WAVLM_BASE_PLUS), so no other file is needed. A whisper student's
file holds the head alone and names its front end by the sha256 of its weights.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from safetensors.torch import save

from modeling.emotions import EMOTIONS
from modeling.speech.whisper import WhisperEncoder
from modeling.state_dicts import read_safetensors, require_fitting
from modeling.students.build import STUDENTS, Student, StudentConfig, WhisperConfig, WhisperStudent

FORMAT = "emovox.student.1"
_REMEDY = "give the student file that training wrote, or copy it again"

FrontEndSource = Callable[[WhisperConfig, str], WhisperEncoder]
"""Gives the front end of a config whose weights have a sha256 (`WhisperEncoder.fingerprint`), or raises ValueError."""


def save_student(student: Student, path_or_file: str | Path | BinaryIO, meta: Mapping[str, Any]) -> None:
    """meta: anything about the run that JSON can hold (recipe, epoch, metrics); `load_student` puts it in `student.meta`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in student.stored_state().items()}
    header = {
        "format": FORMAT,
        "emotions": ",".join(EMOTIONS),
        "config": json.dumps(asdict(student.config)),
        "meta": json.dumps(meta),
    }
    if isinstance(student, WhisperStudent):
        header["front_end_sha256"] = student.front_end.fingerprint()
    data = save(tensors, header)
    if isinstance(path_or_file, str | Path):
        Path(path_or_file).write_bytes(data)
    else:
        path_or_file.write(data)


def load_student(source: bytes | str | Path, front_ends: FrontEndSource | None = None) -> Student:
    """The student in a file or its bytes, in evaluation mode on the CPU.

    Use: `load_student(path).predict(wave, sample_rate)`, or `.embed`, at any rate. front_ends: where a whisper student gets
    its front end; `pipeline.students.load.read_student` fetches it. Raises a ValueError that says what to do if the file is
    damaged or not a student of this project, or if the front end is missing.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    name = "the student file" if isinstance(source, bytes) else str(source)
    try:
        tensors, header = read_safetensors(data)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; {_REMEDY}") from error
    if header.get("format") != FORMAT or header.get("emotions") != ",".join(EMOTIONS):
        raise ValueError(f"{name}: a safetensors file, but not a student of format {FORMAT}; {_REMEDY}")
    front_end = _front_end(header, front_ends, name)
    try:
        config = json.loads(header["config"])
        require_fitting(lambda: _untrained(config, front_end).stored_state(), tensors)
        student = _untrained(config, front_end)
        student.load_state_dict(tensors, strict=False)
        student.meta = json.loads(header["meta"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name}: its config and its weights do not fit ({str(error)[:200]}); {_REMEDY}") from error
    return student.eval()


def _front_end(header: Mapping[str, str], front_ends: FrontEndSource | None, name: str) -> WhisperEncoder | None:
    """Of a whisper student; None for others. What `front_ends` raises is about the front end, and passes as it is."""
    if "front_end_sha256" not in header:
        return None
    if front_ends is None:
        raise ValueError(
            f"{name}: it stands on Whisper, a file of its own; pipeline.students.load.read_student fetches both"
        )
    try:
        config = WhisperConfig(**json.loads(header["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: its config is not one of this program ({str(error)[:200]}); {_REMEDY}") from error
    return front_ends(config, header["front_end_sha256"])


def _untrained(config: dict[str, Any], front_end: WhisperEncoder | None) -> Student:
    if front_end is not None:
        return WhisperStudent(WhisperConfig(**config), front_end)
    student_config = StudentConfig(**config)
    return STUDENTS[student_config.kind](student_config)
