"""Layout `voxceleb2`: face tracks and sound of VoxCeleb2 as its archives unpack (Chung et al., Interspeech 2018)."""

import logging
import re
from dataclasses import dataclass

from cluster import storage
from cluster.failures import UserError
from pipeline.indexing.splits import splits_within_speakers

SUFFIXES = (".mp4", ".m4a")
EXPECTS = "dev/mp4/id00012/<video>/00001.mp4 with dev/aac/id00012/<video>/00001.m4a, and the same below test/"

_PATH = re.compile(r"(?:^|/)(dev|test)/(?:.*/)?(id\d{5})/([^/]+)/(\d{5})\.(mp4|m4a)$", re.IGNORECASE)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VoxCeleb2Options:
    """Splits and face crop of VoxCeleb2. The speakers of test/ are "unheard".

    Of the dev/ speakers, source videos whose hash falls below `held_out` are "heard", below `held_out + validation`
    "val", the rest "train"; all tracks of one source video share a split, and one video of each speaker is in "train".
    """

    held_out: float = 0.05
    """Share of the dev source videos that are heard."""
    validation: float = 0.02
    """Share of the dev source videos by which a checkpoint is chosen."""
    face_context: float | None = None
    """None: the face is looked for in each frame. c: trust the centre 1/c of each frame to be the face.

    The released tracks are not documented in this respect. The public SyncNet pipeline of the same author cuts a square
    of 1.4 times the box (crop_scale 0.40) in which the box touches the upper edge, so that no centred crop fits
    (syncnet_python/run_pipeline.py, crop_video); users of the tracks also see foreheads at the upper edge
    (github shrubb/latent-pose-reenactment issue 27, oawiles/FAb-Net issue 2). Hence None.
    """

    def __post_init__(self):
        if min(self.held_out, self.validation) < 0 or self.held_out + self.validation >= 1:
            raise UserError(
                f"held_out {self.held_out} and validation {self.validation} are shares; give 0 or more, "
                "together less than 1, so that some videos are left to learn from"
            )
        if self.face_context is not None and self.face_context < 1:
            raise UserError(f"face_context is {self.face_context}; give 1 or more, or leave it out")


def read_voxceleb2(files: list[storage.StoredFile], prefix: str, options: VoxCeleb2Options) -> dict[str, list]:
    """Columns of the manifest: one row for each mp4, from its beginning to its end.

    The sound is the m4a next to it, else the mp4 itself (if that has none, labelling rejects the row). An m4a without its
    mp4 has nothing to label: the log counts it, and it gets no row. VoxCeleb2's txt files hold boxes in the source video,
    not in the cropped track, and are not used.
    """
    videos, sounds, others = _sort_files(files, prefix)
    sound_only = sounds.keys() - videos.keys()
    for found, what in (
        (others, "files are not below dev/ or test/ as id, video, track: left out"),
        (sound_only, "m4a without an mp4: no row"),
        (videos.keys() - sounds.keys(), "mp4 without an m4a: their own sound is used"),
    ):
        if found:
            log.warning("%d %s (for example %s)", len(found), what, min(found))
    keys = list(videos)
    speakers, source_videos = [key[1] for key in keys], [f"{key[1]}/{key[2]}" for key in keys]
    splits = splits_within_speakers(speakers, source_videos, held_out=options.held_out, validation=options.validation)
    return {
        "utterance_id": ["/".join(key[1:]) for key in keys],
        "speaker_id": speakers,
        "video_id": [key[2] for key in keys],
        "video_uri": list(videos.values()),
        "audio_uri": [sounds.get(key, video) for key, video in videos.items()],
        "start_s": [0.0] * len(keys),
        "split": ["unheard" if key[0] == "test" else split for key, split in zip(keys, splits, strict=True)],
        "face_context": [options.face_context] * len(keys),
    }


Key = tuple[str, str, str, str]
"""dev or test, speaker, source video, track."""


def _sort_files(files: list[storage.StoredFile], prefix: str) -> tuple[dict[Key, str], dict[Key, str], list[str]]:
    videos: dict[Key, str] = {}
    sounds: dict[Key, str] = {}
    others = []
    parent = prefix.rstrip("/").rpartition("/")[0]  # so that a prefix that ends in dev/ or test/ works
    for file in files:
        match = _PATH.search(file.uri, len(parent))
        if not match:
            others.append(file.uri)
            continue
        side, speaker, video, track, suffix = match.groups()
        (videos if suffix.lower() == "mp4" else sounds)[(side.lower(), speaker, video, track)] = file.uri
    return videos, sounds, others
