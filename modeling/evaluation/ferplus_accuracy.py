"""How good a face teacher is on FER+: accuracy under the three rules in use, recall, confusion, calibration.

Shape letters: N faces, V = 10 vote columns, E = 8 emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax
from scipy.stats import binomtest

from modeling.emotions import EMOTIONS
from modeling.evaluation.bootstrap import Estimate
from modeling.evaluation.calibration import ReliabilityBin, best_temperature, calibration, mean_cross_entropy
from modeling.evaluation.divergence import confusion
from modeling.faces.ferplus import VOTE_COLUMNS, majority_rule, paper_rule, vote_distributions, without_single_votes

RULES = ("paper", "majority", "argmax8")


@dataclass(frozen=True)
class Accuracy(Estimate):
    """Accuracy over n faces, with its 95 % Wilson interval; None without faces."""

    n: int


@dataclass(frozen=True)
class FerPlusEvaluation:
    """All figures of one teacher on faces with votes; a figure without rows is None.

    accuracy: rule -> figure. Under the majority rule: recall, support, confusion (rows truth, columns predicted),
    balanced_accuracy (mean recall of the emotions present), ece, reliability. Under the paper's rule: log_loss, the mean
    cross-entropy against the vote distributions, and the temperature that minimises it on these same rows. These two
    ignore the emotions that the teacher does not know (`masked`) and the votes for them; all other figures count such
    faces as mistakes.
    """

    n: int
    accuracy: dict[str, Accuracy]
    recall: dict[str, float | None]
    support: dict[str, int]
    confusion: list[list[int]]
    balanced_accuracy: float | None
    ece: float | None
    reliability: tuple[ReliabilityBin, ...]
    log_loss: float | None
    temperature: float | None
    ece_at_temperature: float | None
    masked: tuple[str, ...]


def truth_under(rule: str, votes_NV: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boolean mask (N,) of the rows that the rule keeps, and their emotion index (N,); the first emotion wins a tie.

    paper: `paper_rule`; majority: `majority_rule`; both count votes after outlier removal. argmax8: every row with a raw
    vote for one of the eight emotions.
    """
    votes_NE = votes_NV[:, : len(EMOTIONS)]
    if rule == "argmax8":
        return votes_NE.sum(axis=1) > 0, votes_NE.argmax(axis=1)
    keep_N = {"paper": paper_rule, "majority": majority_rule}[rule](votes_NV)
    return keep_N, without_single_votes(votes_NE).argmax(axis=1)


def evaluate_ferplus(logits_NE: np.ndarray, votes_NV: np.ndarray, masked: Sequence[str] = ()) -> FerPlusEvaluation:
    """logits_NE: the teacher's; votes_NV: raw counts in `VOTE_COLUMNS` order; masked: emotions that it does not know.

    Raises ValueError if the shapes do not match or a logit is not finite.
    """
    logits_NE, votes_NV = _checked(logits_NE, votes_NV, masked)
    predicted_N = logits_NE.argmax(axis=1)
    accuracy: dict[str, Accuracy] = {}
    for rule in RULES:
        keep_N, truth_N = truth_under(rule, votes_NV)
        accuracy[rule] = _accuracy(int((predicted_N == truth_N)[keep_N].sum()), int(keep_N.sum()))
    keep_N, truth_N = truth_under("majority", votes_NV)
    kept_NE, truth_N = logits_NE[keep_N], truth_N[keep_N]
    confusion_EE = confusion(kept_NE.argmax(axis=1), truth_N)
    support_E = confusion_EE.sum(axis=1)
    recall_E = [float(confusion_EE[k, k] / n) if n else None for k, n in enumerate(support_E)]
    present = [recall for recall in recall_E if recall is not None]
    loss, temperature = _fit_temperature(logits_NE, votes_NV, masked)
    ece, reliability = calibration(kept_NE, truth_N)
    return FerPlusEvaluation(
        n=len(votes_NV),
        accuracy=accuracy,
        recall=dict(zip(EMOTIONS, recall_E, strict=True)),
        support=dict(zip(EMOTIONS, support_E.tolist(), strict=True)),
        confusion=confusion_EE.tolist(),
        balanced_accuracy=float(np.mean(present)) if present else None,
        ece=ece,
        reliability=reliability,
        log_loss=loss,
        temperature=temperature,
        ece_at_temperature=calibration(kept_NE / temperature, truth_N)[0] if temperature else None,
        masked=tuple(masked),
    )


def most_confident_errors(logits_NE: np.ndarray, votes_NV: np.ndarray, most: int) -> list[int]:
    """At most `most` rows whose prediction differs from the majority rule's emotion, most confident first."""
    keep_N, truth_N = truth_under("majority", votes_NV)
    wrong = np.flatnonzero(keep_N & (logits_NE.argmax(axis=1) != truth_N))
    confidence = softmax(np.asarray(logits_NE, np.float64)[wrong], axis=1).max(axis=1)
    return wrong[np.argsort(-confidence, kind="stable")][:most].tolist()


def _checked(logits_NE: np.ndarray, votes_NV: np.ndarray, masked: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Copies; the logits are in double precision, and minus infinity for emotions that the teacher does not know."""
    logits_NE, votes_NV = np.array(logits_NE, np.float64), np.asarray(votes_NV)
    n = len(votes_NV)
    if logits_NE.shape != (n, len(EMOTIONS)) or votes_NV.shape != (n, len(VOTE_COLUMNS)):
        raise ValueError(
            f"logits {logits_NE.shape}, votes {votes_NV.shape}: give N x {len(EMOTIONS)} logits and "
            f"N x {len(VOTE_COLUMNS)} votes"
        )
    if unknown := [name for name in masked if name not in EMOTIONS]:
        raise ValueError(f"masked emotions {unknown} are not known; give some of {list(EMOTIONS)}")
    broken = np.flatnonzero(~np.isfinite(logits_NE).all(axis=1))
    if len(broken):
        raise ValueError(
            f"the logits of {len(broken)} of {n} rows are not finite (rows {broken[:5].tolist()}"
            f"{', ...' if len(broken) > 5 else ''}); look at those faces and at the network's weights"
        )
    logits_NE[:, [EMOTIONS.index(name) for name in masked]] = -np.inf  # probability 0 at any temperature
    return logits_NE, votes_NV


def _accuracy(right: int, n: int) -> Accuracy:
    if n == 0:
        return Accuracy(None, None, None, n=0)
    ends = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return Accuracy(right / n, float(ends.low), float(ends.high), n=n)


def _fit_temperature(
    logits_NE: np.ndarray, votes_NV: np.ndarray, masked: Sequence[str]
) -> tuple[float | None, float | None]:
    """Cross-entropy against the votes (paper's rule) at temperature 1, and the temperature that minimises it."""
    known = [index for index, emotion in enumerate(EMOTIONS) if emotion not in masked]
    keep_N = paper_rule(votes_NV)
    target_NE = vote_distributions(votes_NV[keep_N])[:, known].astype(np.float64)
    logits_NE = logits_NE[keep_N][:, known]
    total_N = target_NE.sum(axis=1)
    target_NE, logits_NE = target_NE[total_N > 0] / total_N[total_N > 0, None], logits_NE[total_N > 0]
    if not len(target_NE):
        return None, None
    return mean_cross_entropy(logits_NE, target_NE), best_temperature(logits_NE, target_NE)
