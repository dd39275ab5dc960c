"""The student on files: in this process where they are few and small, on Ray where they are many or a cluster is named."""

import contextlib
import logging
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from cluster import storage
from cluster.cluster_address import ray_is_named
from cluster.cores import local_cores
from cluster.failures import UserError
from cluster.progress import progress
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.media.file_types import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from pipeline.media.listing import list_media

if TYPE_CHECKING:
    from modeling.students.build import Student
    from pipeline.students.file_prediction import PredictionOptions

log = logging.getLogger(__name__)

FEW_FILES = 200
FEW_BYTES = 64 * 2**20
"""Up to so many files of so many bytes together are done before Ray's processes would have started, or not long after."""


def media_files(paths: list[str]) -> list[str]:
    """The files named, and the audio and video files below the folders named. Raises UserError if there are none."""
    found = []
    for path in map(storage.absolute, paths):
        if storage.is_folder(path):
            found += [file.uri for file in list_media(path, AUDIO_SUFFIXES + VIDEO_SUFFIXES)]
        elif storage.exists(path):
            found.append(path)
        else:
            raise UserError(f"{path}: not found; give audio or video files, or folders that hold them")
    if not found:
        raise UserError(
            f"{', '.join(paths)}: no audio or video file there ({', '.join(AUDIO_SUFFIXES + VIDEO_SUFFIXES)})"
        )
    return list(dict.fromkeys(found))


@contextlib.contextmanager
def decoder_for(files: list[str], address: str | None) -> Generator[IsolatedDecoder]:
    """A decoder for `predict_files`, which gets ready while torch and the student are loaded, if the files may be few."""
    with IsolatedDecoder() as decoder:
        if not ray_is_named(address) and len(files) <= FEW_FILES:
            decoder.start()
        yield decoder


def predict_files(
    student: "Student",
    files: list[str],
    options: "PredictionOptions",
    address: str | None = None,
    decoder: IsolatedDecoder | None = None,
) -> list[dict[str, Any]]:
    """One row of `ROWS_SCHEMA` for each file, in the order given. If Ray is named, it is used for any number."""
    if not ray_is_named(address) and are_few(files):
        rows = _predict_here(student, files, options, decoder)
    else:
        from pipeline.students.predict_on_ray import predict_on_ray  # importing Ray takes as long as a short file

        rows = predict_on_ray(student, files, options, address).to_pylist()
    for row in rows:
        if row.get("trace"):
            log.warning("%s: %s", row["file"], row["trace"])
    return rows


def are_few(files: list[str]) -> bool:
    """Whether starting Ray for these files would take longer than it saves."""
    return len(files) <= FEW_FILES and sum(map(_size, files)) <= FEW_BYTES


def _size(uri: str) -> int:
    """In bytes; 0 for a file that is missing or forbidden, which becomes a reject when it is read."""
    try:
        return storage.size(uri)
    except (UserError, ValueError):  # ValueError: no file can have such a name
        return 0


def _predict_here(
    student: "Student", files: list[str], options: "PredictionOptions", decoder: IsolatedDecoder | None
) -> list[dict[str, Any]]:
    from modeling.threads import threads_for, torch_threads  # torch, which the decoder's start does not wait for
    from pipeline.students.file_prediction import FilePredictor

    answers: list[dict[str, Any]] = []
    predictor = contextlib.closing(FilePredictor(student, options, decoder))
    with (
        torch_threads(threads_for(student, local_cores())),
        predictor as predict,
        progress(len(files), "predict", "files") as bar,
    ):
        for uri in files:
            answers.append(predict(uri))
            bar.update()
    return answers
