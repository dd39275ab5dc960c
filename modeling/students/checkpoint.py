"""A trained student in one safetensors file: weights, and its config and history as JSON in the file's metadata.

The file of an ssl student holds its front end too (378 MB for WAVLM_BASE_PLUS), so that nothing else is needed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from safetensors.torch import save

from modeling.emotions import EMOTIONS
from modeling.state_dicts import read_safetensors, require_fitting
from modeling.students.build import STUDENTS, Student, StudentConfig

FORMAT = "emovox.student.1"
_REMEDY = "give the student file that training wrote, or copy it again"


def save_student(student: Student, path_or_file: str | Path | BinaryIO, meta: Mapping[str, Any]) -> None:
    """meta: anything JSON can hold about the run (recipe, epoch, metrics); `load_student` puts it on `student.meta`."""
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
    """A student in evaluation mode on the CPU, from a file or its bytes.

    Use: `load_student(path).predict(wave, sample_rate)`, or `.embed`, at any rate.
    Raises ValueError that says what to do when it is not a student of this project or is damaged.
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
        require_fitting(lambda: STUDENTS[config.kind](config), tensors)
        student = STUDENTS[config.kind](config)
        student.load_state_dict(tensors)
        student.meta = json.loads(header["meta"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{name}: its config and its weights do not fit ({str(error)[:200]}); {_REMEDY}") from error
    return student.eval()
