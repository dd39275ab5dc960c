"""From the names and paths of the command line to the bytes of network weights."""

from collections.abc import Callable
from dataclasses import dataclass

from cluster import storage
from cluster.failures import UserError
from modeling.retinaface import load_detector
from modeling.teacher import DEFAULT_TEACHER, load_teacher, packaged_weights
from pipeline.assets import DETECTOR_WEIGHTS, fetch

DEFAULT_DETECTOR = "mobilenet0.25"


@dataclass(frozen=True)
class Weights:
    """A network's name and the bytes of its weights file; `name` picks the architecture."""

    name: str
    data: bytes

    @property
    def fingerprint(self) -> str:
        """name@first 16 hex digits of the sha256, as the loaded network signs itself."""
        return f"{self.name}@{storage.sha256(self.data)[:16]}"


def teacher_weights(name_or_uri: str) -> Weights:
    """`compact` is the teacher that comes with the project; anything else is a path or s3:// URI of one of its kind."""
    if name_or_uri == DEFAULT_TEACHER:
        return Weights(DEFAULT_TEACHER, packaged_weights())  # they are tested with the project
    if not storage.exists(name_or_uri):
        raise UserError(f"--teacher {name_or_uri}: neither a known teacher ({DEFAULT_TEACHER}) nor an existing file")
    return _checked(Weights(DEFAULT_TEACHER, storage.read_bytes(name_or_uri)), load_teacher, name_or_uri)


def detector_weights(name_or_uri: str) -> Weights:
    """`mobilenet0.25` is fetched from a package once; a path whose name holds `resnet50` is the package's own network."""
    if name_or_uri == DEFAULT_DETECTOR:
        return Weights(DEFAULT_DETECTOR, fetch(DETECTOR_WEIGHTS)[0].read_bytes())
    if not storage.exists(name_or_uri):
        raise UserError(f"--detector {name_or_uri}: neither a known detector ({DEFAULT_DETECTOR}) nor an existing file")
    name = "resnet50" if "resnet50" in name_or_uri.lower() else DEFAULT_DETECTOR
    return _checked(Weights(name, storage.read_bytes(name_or_uri)), load_detector, name_or_uri)


def _checked(weights: Weights, load: Callable[[str, bytes], object], uri: str) -> Weights:
    """Loads the network once here, so that a wrong file stops the job before anything is written."""
    try:
        load(weights.name, weights.data)
    except ValueError as error:
        raise UserError(f"{uri}: {error}") from error
    return weights
