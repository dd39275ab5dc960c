"""File endings that are taken for video or audio; each has its format in `pipeline.media.limits.DEMUXERS`."""

import logging
from collections import Counter
from pathlib import PurePosixPath

from cluster import storage

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".mpe", ".m1v", ".m2v", ".mpv", ".mp4v", ".qt"),
    *(".ts", ".mts", ".m2ts", ".m2t", ".tod", ".vob", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm"),
    *(".dv", ".divx", ".mxf", ".rm", ".rmvb"),
)

AUDIO_SUFFIXES = (
    *(
        ".wav",
        ".flac",
        ".mp3",
        ".m4a",
        ".aac",
        ".ogg",
        ".opus",
        ".wma",
        ".oga",
        ".spx",
        ".mp2",
        ".mpga",
        ".m4b",
        ".mka",
    ),
    *(
        ".weba",
        ".3ga",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".snd",
        ".caf",
        ".w64",
        ".rf64",
        ".bwf",
        ".amr",
        ".ac3",
        ".eac3",
    ),
    *(".dts", ".ape", ".wv", ".tta", ".voc", ".gsm", ".sph", ".nist", ".ra"),
)

log = logging.getLogger(__name__)


def list_with_suffixes(uri: str, suffixes: tuple[str, ...]) -> list[storage.StoredFile]:
    """The files below a folder or prefix with one of these endings (lower case), sorted by URI. How many others there are, and
    with which endings, goes to the log."""
    wanted: list[storage.StoredFile] = []
    others: Counter[str] = Counter()
    for file in storage.list_files(uri):
        if file.uri.lower().endswith(suffixes):
            wanted.append(file)
        else:
            others[PurePosixPath(file.uri).suffix.lower() or "no ending"] += 1
    if others:
        told = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
        log.info("%s: %d files with other endings are left out (%s)", uri, others.total(), told)
    return wanted
