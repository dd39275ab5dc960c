"""VoxCeleb1's text files: who is who, the split of each utterance, and the position of the face in each frame."""

import csv
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from cluster import storage
from cluster.failures import UserError
from modeling.sampling import FRAME_STRIDE, VIDEO_FRAME_RATE
from pipeline.schema import FACE_BOX

TrackKey = tuple[str, str, str]
"""Speaker (id, or the folder's name if it has no id), source video, track of five digits: id10001/<video>/00001."""

READ_THREADS = 32

SPLIT_NUMBERS = {"1": "train", "2": "val", "3": "heard"}
"""The numbers in iden_split.txt. 3 is other videos of the speakers in train, so "heard"."""

_OLD_STEM = re.compile(r"(.{11})_(\d{7})")  # a YouTube id has 11 characters


def track_key(path_without_suffix: str) -> TrackKey | None:
    """The utterance a path belongs to, in the new naming (id10001/<video>/00001) or the old one
    (<name>/<video>_0000001, with dev/ or test/ in between in some copies); None for any other path."""
    *folders, stem = path_without_suffix.split("/")
    if old := _OLD_STEM.fullmatch(stem):
        if folders and folders[-1] in ("dev", "test"):
            folders.pop()
        return (folders[-1], old[1], f"{int(old[2]):05d}") if folders else None
    if len(folders) >= 2 and stem.isascii() and stem.isdigit() and len(stem) in (5, 7):
        return folders[-2], folders[-1], f"{int(stem):05d}"
    return None


@dataclass(frozen=True)
class Identities:
    """vox1_meta.csv: names to ids (A.J._Buckley to id10001), and the ids whose Set is test."""

    ids: dict[str, str] = field(repr=False)
    test_ids: frozenset[str] = field(repr=False)

    def with_id(self, key: TrackKey) -> TrackKey:
        return self.ids.get(key[0], key[0]), key[1], key[2]


def read_identities(uri: str) -> Identities:
    """From vox1_meta.csv (tab-separated: VoxCeleb1 ID, VGGFace1 ID, Gender, Nationality, Set)."""
    lines = storage.read_bytes(uri).decode("utf-8-sig").splitlines()
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter="\t") if row]
    header = rows[0] if rows else []
    columns = ("VoxCeleb1 ID", "VGGFace1 ID", "Set")
    if not set(columns) <= set(header):
        raise UserError(f"{uri}: first line {header!r}; expected tab-separated {', '.join(columns)}; download it again")
    identity, name, test_set = (header.index(column) for column in columns)
    try:
        ids = {row[name]: row[identity] for row in rows[1:]}
        return Identities(ids, frozenset(row[identity] for row in rows[1:] if row[test_set].lower() == "test"))
    except IndexError as error:
        raise UserError(f"{uri}: a line has fewer than {len(header)} columns; download it again") from error


def read_split_list(uri: str, identities: Identities) -> dict[TrackKey, str]:
    """Split of each utterance, from iden_split.txt (`<1|2|3> id10001/<video>/00001.wav` a line)."""
    splits = {}
    for number, line in enumerate(storage.read_bytes(uri).decode().splitlines(), start=1):
        if not line.strip():
            continue
        split_number, _, path = line.strip().partition(" ")
        key = track_key(path.strip().removesuffix(".wav"))
        if split_number not in SPLIT_NUMBERS or key is None:
            raise UserError(f"{uri}: line {number} is {line!r}, not `1 id10001/<video>/00001.wav`; download it again")
        splits[identities.with_id(key)] = SPLIT_NUMBERS[split_number]
    return splits


@dataclass(frozen=True)
class ListedTrack:
    """The span and the boxes of a track in its source video."""

    start_s: float
    end_s: float
    boxes_N5: np.ndarray
    """time_s, x0, y0, x1, y1 in seconds and pixels of the source video; every FRAME_STRIDE-th frame of the track."""


def parse_face_track(text: str, uri: str) -> ListedTrack:
    """A txt of VoxCeleb1: header lines, then FRAME X Y W H a line; frame numbers count the source video at 25 fps."""
    lines = iter(text.splitlines())
    for line in lines:
        if line.split() == ["FRAME", "X", "Y", "W", "H"]:
            break
    try:
        frames_N5 = np.array([line.split() for line in lines if line.strip()], dtype=np.float64).reshape(-1, 5)
    except ValueError as error:
        raise UserError(f"{uri}: rows are not FRAME X Y W H ({error}); download it again or delete it") from error
    if not len(frames_N5):
        raise UserError(f"{uri}: no rows after a line FRAME X Y W H; download it again or delete it")
    first, last = frames_N5[0, 0], frames_N5[-1, 0]
    boxes_N5 = frames_N5[::FRAME_STRIDE].copy()
    boxes_N5[:, 0] /= VIDEO_FRAME_RATE
    boxes_N5[:, 3:] += boxes_N5[:, 1:3]
    return ListedTrack(first / VIDEO_FRAME_RATE, (last + 1) / VIDEO_FRAME_RATE, boxes_N5)


def read_face_tracks(uris: Sequence[str]) -> list[ListedTrack]:
    """Many txt files; on s3 each is one request, hence the threads."""

    def read(uri: str) -> ListedTrack:
        return parse_face_track(storage.read_bytes(uri).decode(), uri)

    with ThreadPoolExecutor(READ_THREADS) as pool:
        return list(tqdm(pool.map(read, uris), total=len(uris), desc="reading face tracks", unit="file", disable=None))


def box_column(boxes: Sequence[np.ndarray | None]) -> pa.Array:
    """The column face_boxes; built from arrays, because 5 million boxes as Python objects need gigabytes."""
    given = [boxes_N5 for boxes_N5 in boxes if boxes_N5 is not None]
    values_N5 = np.concatenate(given) if given else np.zeros((0, 5))
    children = [pa.array(values_N5[:, index]).cast(FACE_BOX[index].type) for index in range(5)]
    lengths = [0 if boxes_N5 is None else len(boxes_N5) for boxes_N5 in boxes]
    return pa.ListArray.from_arrays(
        pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32()),
        pa.StructArray.from_arrays(children, fields=list(FACE_BOX)),
        mask=pa.array([boxes_N5 is None for boxes_N5 in boxes], pa.bool_()),
    )
