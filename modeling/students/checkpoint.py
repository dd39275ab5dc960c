"""A trained student in one safetensors file: its weights, with its config and history as JSON in the file's metadata.

An ssl student's file also holds its front end (378 MB for WAVLM_BASE_PLUS), so no other file is needed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from safetensors.torch import save

from modeling.emotions import EMOTIONS
from modeling.state_dicts import misfits, read_safetensors
from modeling.students.build import STUDENTS, Student, StudentConfig

FORMAT = "emovox.student.1"
_REMEDY = "give the student file that training wrote, or copy it again"


def save_student(student: Student, path_or_file: str | Path | BinaryIO, meta: Mapping[str, Any]) -> None:
    """meta: anything about the run that JSON can hold (recipe, epoch, metrics); `load_student` puts it in `student.meta`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()}
    header = {
        "format": FORMAT,
        "emotions": ",".join(EMOTIONS),
        "config": json.dumps(asdict(student.config)),
        "meta": json.dumps(meta),
    }
    data = save(tensors, header)
    if isinstance(path_or_file, str | Path):
        Path(path_or_file).write_bytes(data)
    else:
        path_or_file.write(data)


def load_student(source: bytes | str | Path) -> Student:
    """The student in a file or its bytes, in evaluation mode on the CPU.

    Use: `load_student(path).predict(wave, sample_rate)`, or `.embed`, at any rate.
    Raises a ValueError that says what to do if the file is damaged or not a student of this project.
    """
    data = source if isinstance(source, bytes) else Path(source).read_bytes()
    name = "the student file" if isinstance(source, bytes) else str(source)
    try:
        tensors, header = read_safetensors(data)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; {_REMEDY}") from error
    if header.get("format") != FORMAT or header.get("emotions") != ",".join(EMOTIONS):
        raise ValueError(f"{name}: a safetensors file, but not a student of format {FORMAT}; {_REMEDY}")
    try:
        config = StudentConfig(**json.loads(header["config"]))
        student = STUDENTS[config.kind](config)
        if reason := misfits(student.state_dict(), tensors):
            raise ValueError(reason)
        student.load_state_dict(tensors)
        student.meta = json.loads(header["meta"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: its config and its weights do not fit ({str(error)[:200]}); {_REMEDY}") from error
    return student.eval()
