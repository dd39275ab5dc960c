"""Layout `voxceleb1`: speech, faces and lists of VoxCeleb1 (Nagrani et al., Interspeech 2017), the paper's data."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from cluster import storage
from cluster.failures import UserError
from pipeline.indexing.splits import first_speakers
from pipeline.indexing.voxceleb1_lists import (
    Identities,
    TrackKey,
    box_column,
    read_face_tracks,
    read_identities,
    read_split_list,
    track_key,
)

VIDEO_SUFFIXES = ("mp4", "mkv", "webm")
PICTURE_SUFFIXES = ("jpg", "jpeg")
SUFFIXES = (".wav", ".txt", "vox1_meta.csv", *(f".{suffix}" for suffix in (*VIDEO_SUFFIXES, *PICTURE_SUFFIXES)))
EXPECTS = (
    "vox1_meta.csv, iden_split.txt, wav/id10001/<video>/00001.wav, and faces: either "
    "unzippedIntervalFaces/data/<name>/1.6/<video>/<track>/*.jpg, or video/<id or name>/<video>/00001.mp4, "
    "or whole videos video/<id or name>/<video>.mp4 with txt/id10001/<video>/00001.txt"
)

FACE_CONTEXT = 1.6
"""The published pictures show 1.6 times the face box (fetch_emovoxceleb_imdb.m of mcnCrossModalEmotions cuts 1 / 1.6
from their centre; the folder's name contains the number)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class VoxCeleb1Options:
    """Splits from VoxCeleb1's own lists.

    iden_split.txt: 1 is "train", 2 "val", 3 "heard" (other videos of the same speakers). Speakers whose Set in
    vox1_meta.csv is test (40 in the full set) are "unheard" with all their utterances.
    """

    pictures_per_s: float = 25.0
    """Pictures per second in folders of face pictures: 25 if every frame was kept. The published archive dense-face-frames
    keeps every 6th (5,078,961 pictures of 153,486 tracks): give 4.1667 for it."""
    unheard_speakers: int = 0
    """Number of further speakers, chosen by a hash of their ids, that are also unheard. The paper had 250 unheard speakers
    in all, so 210 comes closest to it; its own list is not published as text."""

    def __post_init__(self):
        if not self.pictures_per_s > 0:
            raise UserError(f"pictures_per_s is {self.pictures_per_s}; give pictures per second, above 0")
        if self.unheard_speakers < 0:
            raise UserError(f"unheard_speakers is {self.unheard_speakers}; give 0 or more")


class _Row(NamedTuple):
    key: TrackKey
    video_uri: str
    audio_uri: str
    start_s: float = 0.0
    end_s: float | None = None
    face_context: float | None = None
    boxes_N5: np.ndarray | None = None


@dataclass
class _Found:
    """The files of each utterance."""

    wavs: dict[TrackKey, str] = field(default_factory=dict)
    face_folders: dict[TrackKey, str] = field(default_factory=dict)
    clips: dict[TrackKey, str] = field(default_factory=dict)
    txts: dict[TrackKey, str] = field(default_factory=dict)
    whole_videos: dict[str, str] = field(default_factory=dict)
    """Keyed by the source video's id only."""
    others: list[str] = field(default_factory=list)


def read_voxceleb1(files: list[storage.StoredFile], prefix: str, options: VoxCeleb1Options) -> dict:
    """Columns of the manifest; utterance_id is id10001/<video>/00001.

    The pictures of an utterance come from the first of these that exists:

    1. A folder of face pictures: video_uri ends with "/", face_context 1.6, start 0, end null. The end is open because the
       wav is exactly the track, and because the archive's pictures (01.jpg, 02.jpg, ...) are every sixth frame (25 / 6 a
       second: getBatchEmoVoxCeleb.m of mcnCrossModalEmotions), not 25 a second.
    2. A clip of the track: start 0, end null. The boxes of its txt are not used, because the name does not tell whether the
       clip was cut from the scene or from the face.
    3. The whole source video with the txt of the track: start and end from the frame numbers at 25 fps, boxes in
       pixels. The sound is the video's own, because start and end are on the video's clock and not on the wav's.

    The sound of 1 and 2 is the wav; for a clip without a wav it is the clip's own. A speaker not in vox1_meta.csv keeps the
    folder's name; an utterance not in iden_split.txt is "train". An utterance without pictures, or with face pictures but
    no wav, gets no row. The log counts each of these cases.
    """
    identities = read_identities(_only(files, "vox1_meta.csv", prefix))
    numbered = read_split_list(_only(files, "iden_split.txt", prefix), identities)
    rows = _rows(_sort_files(files, prefix, identities))
    speakers = [row.key[0] for row in rows]
    known = set(identities.ids.values())
    _report([row.key for row in rows if row.key[0] not in known], "utterances have a speaker not in vox1_meta.csv")
    _report([row.key for row in rows if row.key not in numbered], "utterances are not in iden_split.txt: train")
    unheard = _unheard(speakers, identities.test_ids, options.unheard_speakers)
    return {
        "utterance_id": ["/".join(row.key) for row in rows],
        "speaker_id": speakers,
        "video_id": [row.key[1] for row in rows],
        "video_uri": [row.video_uri for row in rows],
        "audio_uri": [row.audio_uri for row in rows],
        "start_s": [row.start_s for row in rows],
        "end_s": [row.end_s for row in rows],
        "split": ["unheard" if row.key[0] in unheard else numbered.get(row.key, "train") for row in rows],
        "pictures_per_s": [None if row.face_context is None else options.pictures_per_s for row in rows],
        "face_context": [row.face_context for row in rows],
        "face_boxes": box_column([row.boxes_N5 for row in rows]),
        "face_boxes_unit": [None if row.boxes_N5 is None else "pixels" for row in rows],
    }


def _only(files: list[storage.StoredFile], name: str, prefix: str) -> str:
    """The file with this name; the first by URI if there are copies."""
    for file in files:
        if file.uri.rpartition("/")[2] == name:
            return file.uri
    raise UserError(f"{prefix}: {name} is not there; the layout voxceleb1 expects {EXPECTS}")


def _sort_files(files: list[storage.StoredFile], prefix: str, identities: Identities) -> _Found:
    found = _Found()
    found_by_suffix = {"wav": found.wavs, "txt": found.txts, **dict.fromkeys(VIDEO_SUFFIXES, found.clips)}
    last_folder = ""
    for file in files:
        path, _, suffix = file.uri.removeprefix(prefix).rpartition(".")
        folder, _, stem = path.rpartition("/")
        if (suffix := suffix.lower()) in PICTURE_SUFFIXES:
            if folder != last_folder:  # files are sorted, so the pictures of a folder are adjacent
                last_folder = folder
                _place_face_folder(found, folder, file.uri, identities)
        elif key := track_key(path):
            found_by_suffix[suffix][identities.with_id(key)] = file.uri
        elif suffix in VIDEO_SUFFIXES:
            found.whole_videos[stem] = file.uri
        elif stem not in ("vox1_meta", "iden_split"):
            found.others.append(file.uri)
    return found


def _place_face_folder(found: _Found, folder: str, picture_uri: str, identities: Identities) -> None:
    match folder.split("/"):
        case [*_, name, "1.6", video, track] if track.isascii() and track.isdigit():
            key = identities.with_id((name, video, f"{int(track):05d}"))
            found.face_folders[key] = picture_uri.rpartition("/")[0] + "/"
        case _:
            found.others.append(picture_uri)


def _rows(found: _Found) -> list[_Row]:
    keys = sorted({*found.wavs, *found.face_folders, *found.clips, *found.txts})
    rows, spans, no_pictures, no_wav = [], [], [], []
    for key in keys:
        wav, faces, clip = found.wavs.get(key), found.face_folders.get(key), found.clips.get(key)
        if faces and wav:
            rows.append(_Row(key, faces, wav, face_context=FACE_CONTEXT))
        elif clip:
            rows.append(_Row(key, clip, wav or clip))
        elif key in found.txts and key[1] in found.whole_videos:
            spans.append(key)
        else:
            (no_wav if faces else no_pictures).append(key)
    _report(no_pictures, "utterances have a wav or txt but no pictures: no row")
    _report(no_wav, "utterances have face pictures but no wav: no row")
    _report(found.others, "files do not belong to the layout: left out")
    for key, track in zip(spans, read_face_tracks([found.txts[key] for key in spans]), strict=True):
        video = found.whole_videos[key[1]]
        rows.append(_Row(key, video, video, track.start_s, track.end_s, boxes_N5=track.boxes_N5))
    return rows


def _unheard(speakers: Collection[str], test_ids: frozenset[str], further: int) -> set[str]:
    others = set(speakers) - test_ids
    if others and further >= len(others):
        raise UserError(
            f"unheard_speakers is {further}, but only {len(others)} speakers are not in the test set; "
            "give a smaller number, so that some are left to learn from"
        )
    return first_speakers(others, further) | test_ids


def _report(found: list, what: str) -> None:
    if found:
        first = found[0] if isinstance(found[0], str) else "/".join(found[0])
        log.warning("%d %s (for example %s)", len(found), what, first)
