"""From the names, paths and addresses of the command line to the bytes of network weights."""

import io
import logging
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import torch

from cluster import storage
from cluster.failures import UserError
from cluster.redaction import redacted
from modeling.teacher_training.networks import TRAINABLE
from modeling.teachers.catalogue import PACKAGED, PUBLISHED, TEACHERS, packaged_weights
from modeling.teachers.external import is_torchscript, read_description
from modeling.teachers.load import load_teacher, needs_description
from pipeline.assets.cache import cache_folder, forget, keep, kept
from pipeline.assets.packages import DEFAULT_DETECTOR, DETECTOR_WEIGHTS, fetch

RESNET_DETECTOR = "resnet50"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Weights:
    """A network's name, the bytes of its weights file and, for ONNX and TorchScript teachers, their description (JSON)."""

    name: str
    data: bytes
    description: bytes = b""

    @property
    def fingerprint(self) -> str:
        """name@sha256 of the weights file, as the loaded network signs itself."""
        return f"{self.name}@{storage.sha256(self.data)}"


def teacher_weights(name_or_uri: str, sha256: str | None = None, *, trusted: bool = True) -> Weights:
    """A known name, a file (path, s3:// or http URI) or a folder of `emovox train-teacher`, loaded once to see that it is
    whole.

    sha256: what the file must have. trusted: whether a file that is a program may be loaded without one. Raises UserError if it
    has another or may not, or if the file is missing or no teacher.
    """
    source = PUBLISHED[name_or_uri].url if name_or_uri in PUBLISHED else name_or_uri
    if name_or_uri in PACKAGED:
        weights = Weights(name_or_uri, packaged_weights(name_or_uri))
    elif name_or_uri in PUBLISHED:
        weights = Weights(name_or_uri, read_weights(source))
    else:
        weights = _teacher_file(name_or_uri)
    if sha256 and storage.sha256(weights.data) != sha256.lower():
        _forget(source)
        raise UserError(
            f"--teacher {name_or_uri} has sha256 {storage.sha256(weights.data)}, expected {sha256}; fetch the right file"
        )
    if not (sha256 or trusted):
        _require_no_program(weights, name_or_uri)
    if source.startswith("http://") and not sha256:
        log.warning(
            "%s comes over plain http, which whoever is on the way can change; compare its sha256 with one from elsewhere, or "
            "give it by --teacher-sha256: %s",
            redacted(source),
            storage.sha256(weights.data),
        )
    _try(lambda: load_teacher(weights.name, weights.data, weights.description), source)
    return weights


def _require_no_program(weights: Weights, name: str) -> None:
    """Raises UserError for a TorchScript file."""
    if is_torchscript(weights.data):
        raise UserError(
            f"--teacher {name}: a TorchScript file is a program, which can read and write files as soon as it is loaded; where "
            f"you trust it, give --teacher-sha256 {storage.sha256(weights.data)}, or --trust-teacher"
        )


def detector_weights(name_or_uri: str) -> Weights:
    """`mobilenet0.25` is fetched from a package once, `resnet50` (the package's own network) from the address it names,
    through torch's hub cache; a path whose name holds `resnet50` is that network, any other the small one."""
    if name_or_uri == DEFAULT_DETECTOR:
        return Weights(DEFAULT_DETECTOR, fetch(DETECTOR_WEIGHTS)[0].read_bytes())
    if name_or_uri == RESNET_DETECTOR:
        from retinaface.pre_trained_models import models as retinaface_models  # imports much that nothing else needs

        return Weights(RESNET_DETECTOR, _hub_weights(retinaface_models["resnet50_2020-07-20"].url))
    if not _is_address(name_or_uri) and not storage.exists(name_or_uri):
        raise UserError(
            f"--detector {name_or_uri}: neither a known detector ({DEFAULT_DETECTOR}, {RESNET_DETECTOR}) nor an existing file"
        )
    from modeling.faces.retinaface import load_detector  # with torchvision, that a driver needs for nothing else

    name = RESNET_DETECTOR if RESNET_DETECTOR in name_or_uri.lower() else DEFAULT_DETECTOR
    weights = Weights(name, _unzipped(read_weights(name_or_uri)))
    _try(lambda: load_detector(weights.name, weights.data), name_or_uri)
    return weights


def read_weights(uri: str) -> bytes:
    """The bytes behind a path, an s3:// URI, or an http address, which is fetched once and kept in the cache."""
    if not _is_address(uri):
        if not storage.exists(uri):
            raise UserError(f"{uri}: not found; check the path")
        return storage.read_bytes(uri)
    return _fetched(uri, _cached(uri))


def _teacher_file(uri: str) -> Weights:
    """The file, signed with its name; one that is called as a known teacher is not taken for it."""
    name = _stem(uri) + ("_file" if _stem(uri) in TEACHERS else "")
    if _is_address(uri):
        data = read_weights(uri)
    elif not storage.exists(uri):
        raise UserError(f"--teacher {uri}: neither a known teacher ({', '.join(TEACHERS)}) nor an existing file")
    elif storage.is_folder(uri):
        files = sorted({kind.file_name for kind in TRAINABLE.values()})
        inside = [storage.join(uri, file) for file in files if storage.exists(storage.join(uri, file))]
        if not inside:
            raise UserError(
                f"--teacher {uri}: a folder without {' or '.join(files)}; give the output of `emovox train-teacher`"
            )
        data = storage.read_bytes(inside[0])
    else:
        data = storage.read_bytes(uri)
    if not needs_description(uri, data):
        return Weights(name, data)
    description = _description(uri)
    _try(lambda: read_description(description, f"{_stem(uri)}.json beside the file"), uri)
    return Weights(name, data, description)


def _stem(uri: str) -> str:
    return PurePosixPath(urlparse(uri).path.rstrip("/")).stem


def _description(uri: str) -> bytes:
    """The JSON file beside an ONNX or TorchScript file; empty where there is none, which loading explains."""
    place = str(PurePosixPath(uri.rsplit("://", maxsplit=1)[-1]).with_suffix(".json"))
    beside = f"{uri.split('://', maxsplit=1)[0]}://{place}" if "://" in uri else place
    if _is_address(uri):
        return read_weights(beside)
    return storage.read_bytes(beside) if storage.exists(beside) else b""


def _cached(address: str) -> Path:
    return (
        cache_folder() / "weights" / storage.sha256(address.encode())[:16] / PurePosixPath(urlparse(address).path).name
    )


def _forget(uri: str) -> None:
    """Takes a fetched file that is not what it should be out of the cache, so that the next try fetches it anew."""
    if _is_address(uri):
        forget(_cached(uri))


def _is_address(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _fetched(uri: str, path: Path) -> bytes:
    """What is kept at `path`, fetched where that is nothing or was changed."""
    return data if (data := kept(path)) is not None else _download(uri, path)


def _download(uri: str, path: Path) -> bytes:
    log.info("fetching %s (once; it is kept in %s)", redacted(uri), path.parent)
    with tempfile.TemporaryDirectory(prefix="emovox-fetch-") as folder:
        aside = Path(folder, "weights")
        try:
            torch.hub.download_url_to_file(uri, str(aside))
        except (OSError, HTTPException) as error:  # URLError and HTTPError are OSErrors
            raise UserError(
                f"{uri} cannot be fetched ({error}); fetch it where you have a connection and give its path, "
                f"or put it at {path}"
            ) from error
        data = aside.read_bytes()
    keep(path, data)
    return data


def _hub_weights(url: str) -> bytes:
    """The file in torch's hub cache, where the package itself looks for it, fetched if it is not there."""
    return _unzipped(_fetched(url, Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(url).path).name))


def _unzipped(data: bytes) -> bytes:
    """The one file inside, if it is a plain zip around a checkpoint, as the package's download is."""
    if zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            if len(names) == 1:
                return archive.read(names[0])
    return data


def _try(load: Callable[[], object], uri: str) -> None:
    """Loads the network once here, so that a wrong file stops the job before anything is written."""
    try:
        load()
    except ValueError as error:
        _forget(uri)
        raise UserError(f"{uri}: {error}") from error
