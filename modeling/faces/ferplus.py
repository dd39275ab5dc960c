"""FER+: 48x48 grey faces with ten votes each, and the two usual rules for cleaning them.

Shape letters: N images, V = 10 vote columns (eight emotions, unknown, not a face), E = 8 emotions.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

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

    @property
    def fingerprint(self) -> str:
        """First 16 hex digits of the sha256 over pictures and votes."""
        return hashlib.sha256(self.images_NHW.tobytes() + self.votes_NV.tobytes()).hexdigest()[:16]

    def subset(self, keep_N: np.ndarray) -> "FaceSet":
        return FaceSet(self.images_NHW[keep_N], self.votes_NV[keep_N])


def without_single_votes(votes_NV: np.ndarray) -> np.ndarray:
    """The FER+ authors' outlier removal: a count of one becomes zero (FERPlus src/ferplus.py)."""
    return np.where(votes_NV <= 1, 0, votes_NV)


def paper_rule(votes_NV: np.ndarray) -> np.ndarray:
    """Boolean mask (N,) of the rows that the paper keeps (mcnDatasets getFerPlusImdb.m, "CNTK" cleaning).

    After outlier removal, a row is dropped if "unknown" or "not a face" is among its most-voted classes, if three
    or more classes tie for the most votes, or if the most-voted classes hold at most half of the votes.
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
    """float32 (N, E), rows sum to 1: votes for the eight emotions after outlier removal (the paper's soft labels)."""
    votes_NE = without_single_votes(votes_NV)[:, : len(EMOTIONS)].astype(np.float32)
    total = votes_NE.sum(axis=1, keepdims=True)
    if (total == 0).any():
        raise ValueError(
            f"rows {np.flatnonzero(total == 0)[:5].tolist()} have no vote for any emotion; apply paper_rule first"
        )
    return votes_NE / total


def class_counts(faces: FaceSet, keep_N: np.ndarray) -> dict[str, int]:
    """Number of kept faces by dominant emotion; the first of `EMOTIONS` wins a tie (as in the table of Albanie et al. 2018).
    keep_N: boolean mask of `paper_rule` or `majority_rule`."""
    dominant_N = without_single_votes(faces.votes_NV[keep_N])[:, : len(EMOTIONS)].argmax(axis=1)
    counts_E = np.bincount(dominant_N, minlength=len(EMOTIONS))
    return dict(zip(EMOTIONS, counts_E.tolist(), strict=True))
