"""FER+: 48x48 grey faces with ten votes each, and the two rules by which the field cleans them.

Shape letters: N images, V = 10 vote columns (eight emotions, unknown, not a face), E = 8 emotions.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq

from modeling.emotions import EMOTIONS

SIDE_PX = 48
VOTE_COLUMNS = (*EMOTIONS, "unknown", "not_face")


@dataclass(frozen=True)
class FaceSet:
    """Grey faces and their votes.

    images_NHW: uint8, 48x48 pixels, 0-255; votes_NV: uint8, the raw counts in `VOTE_COLUMNS` order.
    """

    images_NHW: np.ndarray
    votes_NV: np.ndarray

    def __post_init__(self):
        n = len(self.images_NHW)
        assert self.images_NHW.shape == (n, SIDE_PX, SIDE_PX) and self.images_NHW.dtype == np.uint8
        assert self.votes_NV.shape == (n, len(VOTE_COLUMNS))

    def __len__(self) -> int:
        return len(self.images_NHW)

    def subset(self, keep_N: np.ndarray) -> "FaceSet":
        return FaceSet(self.images_NHW[keep_N], self.votes_NV[keep_N])


def read_parquet(path: str | Path) -> FaceSet:
    """FER+ as parquet: column `png` (the encoded image) and one column for each of `VOTE_COLUMNS`.

    Raises ValueError that names the missing columns, or the row whose image does not open.
    """
    names = pq.read_schema(path).names
    missing = [c for c in ("png", *VOTE_COLUMNS) if c not in names]
    if missing:
        raise ValueError(f"{path}: columns {missing} are missing; a FER+ parquet has png and {list(VOTE_COLUMNS)}")
    table = pq.read_table(path, columns=["png", *VOTE_COLUMNS])
    images_NHW = np.empty((len(table), SIDE_PX, SIDE_PX), np.uint8)
    for row, png in enumerate(table["png"]):
        image = cv2.imdecode(np.frombuffer(png.as_py() or b"\0", np.uint8), cv2.IMREAD_GRAYSCALE)
        if image is None or image.shape != (SIDE_PX, SIDE_PX):
            raise ValueError(f"{path}: the image of row {row} is not a {SIDE_PX}x{SIDE_PX} picture; repair or drop it")
        images_NHW[row] = image
    votes_NV = np.stack([table[c].to_numpy() for c in VOTE_COLUMNS], axis=1).astype(np.uint8)
    return FaceSet(images_NHW, votes_NV)


def without_single_votes(votes_NV: np.ndarray) -> np.ndarray:
    """Outlier removal of the FER+ authors: a count of one becomes zero (FERPlus src/ferplus.py)."""
    return np.where(votes_NV <= 1, 0, votes_NV)


def paper_rule(votes_NV: np.ndarray) -> np.ndarray:
    """Boolean mask (N,) of the rows the paper keeps (mcnDatasets getFerPlusImdb.m, "CNTK" cleaning).

    After outlier removal a row is dropped if unknown or not-a-face is among its most-voted classes, if three
    or more classes tie for most votes, or if the most-voted classes hold at most half of the votes.
    """
    votes = without_single_votes(votes_NV).astype(int)
    top = votes.max(axis=1)
    is_top = votes == top[:, None]
    ties = is_top.sum(axis=1)
    usable = ~is_top[:, len(EMOTIONS) :].any(axis=1)
    return usable & (ties < 3) & (2 * ties * top > votes.sum(axis=1))


def majority_rule(votes_NV: np.ndarray) -> np.ndarray:
    """Boolean mask (N,) of FER+'s "majority" mode: one emotion holds more than half of the votes."""
    votes = without_single_votes(votes_NV).astype(int)
    top = votes.max(axis=1)
    return (2 * top > votes.sum(axis=1)) & (votes.argmax(axis=1) < len(EMOTIONS))


def vote_distributions(votes_NV: np.ndarray) -> np.ndarray:
    """float32 (N, E), rows sum to 1: votes for the eight emotions after outlier removal (paper, soft labels)."""
    votes_NE = without_single_votes(votes_NV)[:, : len(EMOTIONS)].astype(np.float32)
    total = votes_NE.sum(axis=1, keepdims=True)
    if (total == 0).any():
        raise ValueError(
            f"rows {np.flatnonzero(total == 0)[:5].tolist()} have no vote for any emotion; apply paper_rule first"
        )
    return votes_NE / total
