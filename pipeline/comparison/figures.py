"""The figures of a comparison of two sets, A and B. "Compared" utterances are those that are labelled in both."""

from collections.abc import Sequence
from dataclasses import dataclass

from modeling.evaluation.agreement import EmotionAgreement
from modeling.evaluation.bootstrap import Estimate
from modeling.evaluation.calibration import ReliabilityBin


@dataclass(frozen=True)
class SetFacts:
    """One of the sets as a whole. masked: emotions that its teacher does not know; reasons: of its rejects, each with its
    number."""

    uri: str
    teachers: Sequence[str]
    masked: Sequence[str]
    rows: int
    labelled: int
    rejected: int
    reasons: dict[str, int]
    is_finished: bool


@dataclass(frozen=True)
class Overlap:
    """Which utterances the sets share; of those in both, which are labelled."""

    in_both: int
    only_in_a: int
    only_in_b: int
    labelled_in_both: int
    labelled_only_in_a: int
    labelled_only_in_b: int
    rejected_in_both: int


@dataclass(frozen=True)
class RejectChange:
    """Utterances that are in both sets with other reasons; None: labelled."""

    a: str | None
    b: str | None
    utterances: int


@dataclass(frozen=True)
class Distribution:
    """Of one set over the compared utterances. counts: by dominant emotion; mean_probabilities: mean softmax at temperature 1."""

    counts: dict[str, int]
    mean_probabilities: dict[str, float]


@dataclass(frozen=True)
class Reliability:
    """How sure one set is, beside how often the other names the same emotion. gap: the mean distance of both over the bins,
    as an expected calibration error."""

    gap: float | None
    bins: Sequence[ReliabilityBin]


@dataclass(frozen=True)
class ChangedUtterance:
    """js: Jensen-Shannon distance of both labels, 0 to 1; probabilities: softmax at temperature 1, in the order of EMOTIONS."""

    utterance_id: str
    speaker_id: str
    video_id: str
    split: str
    js: float
    emotion_a: str
    emotion_b: str
    probabilities_a: Sequence[float]
    probabilities_b: Sequence[float]


@dataclass(frozen=True)
class Comparison:
    """confusion: counts of the compared utterances, a row is A's dominant emotion, a column B's; js: mean Jensen-Shannon
    distance; kl_a_b: mean KL(A || B) in nats; resampled: what the 95 % intervals resample, None if there are none."""

    a: SetFacts
    b: SetFacts
    warnings: Sequence[str]
    overlap: Overlap
    reject_changes: Sequence[RejectChange]
    speakers: int
    resampled: str | None
    agreement: Estimate
    agreement_by_emotion: dict[str, EmotionAgreement]
    kappa: Estimate
    confusion: Sequence[Sequence[int]]
    distribution_a: Distribution
    distribution_b: Distribution
    js: Estimate
    kl_a_b: Estimate
    kl_b_a: Estimate
    reliability_a: Reliability
    reliability_b: Reliability
    most_changed: Sequence[ChangedUtterance]
