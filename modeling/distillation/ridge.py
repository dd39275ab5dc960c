"""A linear student in closed form: ridge regression from features of speech to the teacher's logits, within each speaker.

Each speaker's own mean is taken off features and targets. What is left of a target is how a face moves away from that
person's resting face, and of the features how a voice moves away from that person's own; what tells people apart (their
looks, their microphone) is in neither. All that the solution needs is sums, so a set of any size is read once.

Shape letters: N windows, F features, E = 8 emotions, S speakers.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import softmax

DEVIATION_FLOOR = 1e-6
"""A feature whose deviation within speakers is less has no weight."""


@dataclass(frozen=True)
class LinearHead:
    """weight_EF, bias_E: logits = weight x features + bias; prior_E: softmax of the mean target, which is the answer
    to the mean voice; explained: share of the
    targets' variance within speakers that the fit gives on its own windows."""

    weight_EF: np.ndarray
    bias_E: np.ndarray
    prior_E: np.ndarray
    explained: float


@dataclass(frozen=True)
class SpeakerSums:
    """Of one speaker: windows, and the sums of their features and targets."""

    windows: int
    features_F: np.ndarray
    targets_E: np.ndarray

    def __add__(self, other: "SpeakerSums") -> "SpeakerSums":
        return SpeakerSums(
            self.windows + other.windows,
            self.features_F + other.features_F,
            self.targets_E + other.targets_E,
        )


@dataclass
class LinearSums:
    """Sums over windows; those of two halves of a set add up to those of the whole.

    features_FF, cross_FE: sums of products of features with features and with targets; squares_E: of squared targets.
    """

    speakers: dict[str, SpeakerSums] = field(default_factory=dict[str, SpeakerSums])
    features_FF: np.ndarray | None = None
    cross_FE: np.ndarray | None = None
    squares_E: np.ndarray | None = None

    @property
    def windows(self) -> int:
        return sum(sums.windows for sums in self.speakers.values())

    def add(self, speaker: str, features_NF: np.ndarray, targets_NE: np.ndarray) -> None:
        """Windows of one speaker. Raises ValueError where a number is not finite."""
        features_NF, targets_NE = np.asarray(features_NF, np.float64), np.asarray(targets_NE, np.float64)
        if len(features_NF) != len(targets_NE):
            raise ValueError(
                f"{len(features_NF)} rows of features and {len(targets_NE)} of targets: give as many of both"
            )
        if not (np.isfinite(features_NF).all() and np.isfinite(targets_NE).all()):
            raise ValueError(f"features or targets of speaker {speaker} hold NaN or infinity")
        of_speaker = SpeakerSums(len(features_NF), features_NF.sum(0), targets_NE.sum(0))
        products = (features_NF.T @ features_NF, features_NF.T @ targets_NE, np.square(targets_NE).sum(0))
        self.merge(LinearSums({speaker: of_speaker}, *products))

    def merge(self, other: "LinearSums") -> None:
        """Adds the sums of other windows."""
        for name, sums in other.speakers.items():
            own = self.speakers.get(name)
            self.speakers[name] = sums if own is None else own + sums
        for name in ("features_FF", "cross_FE", "squares_E"):
            own, theirs = getattr(self, name), getattr(other, name)
            if own is None:
                setattr(self, name, None if theirs is None else theirs.copy())
            elif theirs is not None:
                own += theirs

    def solve(self, penalty: float) -> LinearHead:
        """The head that has the least mean squared error plus penalty x squared weights, of features scaled to deviation 1
        within speakers. Its answer to the mean voice is the mean target. Raises ValueError where nothing moves."""
        centred_FF, centred_FE, variance_E = self._within_speakers()
        windows = self.windows
        scale_F = np.sqrt(np.maximum(np.diag(centred_FF) / windows, 0))
        if not (scale_F > DEVIATION_FLOOR).any() or not variance_E.sum() > 0:
            raise ValueError(
                f"{windows} windows of {len(self.speakers)} speakers do not differ within a speaker, so there is nothing to "
                "learn; label more of each person"
            )
        inverse_F = np.where(scale_F > DEVIATION_FLOOR, 1 / np.maximum(scale_F, DEVIATION_FLOOR), 0.0)
        correlation_FF = centred_FF / windows * inverse_F[:, None] * inverse_F[None]
        cross_FE = centred_FE / windows * inverse_F[:, None]
        scaled_FE = np.linalg.solve(correlation_FF + penalty * np.eye(len(inverse_F)), cross_FE)
        weight_EF = (scaled_FE * inverse_F[:, None]).T
        left = (
            variance_E / windows - 2 * (scaled_FE * cross_FE).sum(0) + (scaled_FE * (correlation_FF @ scaled_FE)).sum(0)
        )
        features_F, targets_E = (self._total(name) / windows for name in ("features_F", "targets_E"))
        explained = float(1 - left.sum() * windows / variance_E.sum())
        return LinearHead(weight_EF, targets_E - weight_EF @ features_F, softmax(targets_E), explained)

    def _within_speakers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The sums of products of features, of features with targets and of squared targets, speakers' means off."""
        if self.features_FF is None or self.cross_FE is None or self.squares_E is None:
            raise ValueError("there are no windows to learn from")
        features_SF = np.stack([sums.features_F for sums in self.speakers.values()])
        targets_SE = np.stack([sums.targets_E for sums in self.speakers.values()])
        counts_S1 = np.array([[sums.windows] for sums in self.speakers.values()])
        means_SF = features_SF / counts_S1
        return (
            self.features_FF - features_SF.T @ means_SF,
            self.cross_FE - means_SF.T @ targets_SE,
            self.squares_E - (np.square(targets_SE) / counts_S1).sum(0),
        )

    def _total(self, name: str) -> Any:
        return np.sum([getattr(sums, name) for sums in self.speakers.values()], axis=0)
