"""The probe of a student on one corpus: both protocols on the same clips, every feature set on the same folds.

Shape letters: N clips, F features, K classes of the corpus.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import torch
from sklearn.metrics import confusion_matrix

from cluster.json_values import json_ready
from cluster.progress import progress
from modeling.distillation.clip_training import train_on_clips
from modeling.distillation.recipes import StudentRecipe, compact
from modeling.distillation.targets import hard_logits
from modeling.distillation.trainer import EpochMetrics
from modeling.emotions import EMOTIONS
from modeling.evaluation.linear_probe import (
    PAPER_FOLDS,
    Recalls,
    accuracy_over_folds,
    paper_folds,
    recalls,
    regularised_predictions,
    speaker_folds,
    unregularised_predictions,
)
from modeling.students.build import StudentConfig, WhisperConfig
from pipeline.corpora.clip import CorpusClip
from pipeline.probe.features import ProbeFeatures

PAPER_SETS = {"logits": "logits", "random": "random8", "egemaps": "egemaps", "mean_log_mel": "mean_log_mel"}
"""Name in the table -> feature set. A regression without penalty on a wide embedding only shows overfitting, so the
protocol stays with the 8 logits, and the random baseline with 8 numbers, as in the paper."""

SPEAKER_INDEPENDENT_SETS = ("logits", "embedding", "random", "egemaps", "mean_log_mel")
CEILING = "supervised"
CEILING_BATCH = 32


@dataclass(frozen=True)
class PaperRecalls(Recalls):
    """With the mean and deviation of the folds' accuracies."""

    accuracy_mean: float
    accuracy_std: float


@dataclass(frozen=True)
class SpeakerIndependentRecalls(Recalls):
    """With the C that was chosen in each fold."""

    inverse_penalties: tuple[float, ...]


@dataclass
class ProtocolResult:
    """What one protocol found: by feature set, UAR and WAR with intervals, and the class it gives each clip (N,).

    folds_N: fold of each clip; None, with the reason in `impossible`, where the corpus does not allow the protocol.
    """

    figures: dict[str, Recalls] = field(default_factory=dict)
    predicted: dict[str, np.ndarray] = field(default_factory=dict)
    folds_N: np.ndarray | None = None
    impossible: str | None = None


def paper_protocol(
    features: dict[str, np.ndarray], labels_N: np.ndarray, speakers_N: np.ndarray, seed: int
) -> ProtocolResult:
    """Ten random clip folds, regression without penalty; adds the mean and deviation of the folds' accuracies."""
    if len(labels_N) < PAPER_FOLDS:
        return ProtocolResult(impossible=f"{len(labels_N)} clips are too few for its {PAPER_FOLDS} folds")
    folds_N = paper_folds(len(labels_N), seed)
    found = ProtocolResult(folds_N=folds_N)
    with progress(len(PAPER_SETS), "paper's protocol", "feature sets") as bar:
        for name, source in PAPER_SETS.items():
            predicted_N = unregularised_predictions(features[source], labels_N, folds_N)
            mean, deviation = accuracy_over_folds(predicted_N, labels_N, folds_N)
            found.predicted[name] = predicted_N
            pooled = recalls(predicted_N, labels_N, speakers_N, seed=seed)
            found.figures[name] = PaperRecalls(pooled.uar, pooled.war, pooled.resampled, mean, deviation)
            bar.update()
    return found


def speaker_independent_protocol(
    features: dict[str, np.ndarray], labels_N: np.ndarray, speakers_N: np.ndarray, seed: int
) -> ProtocolResult:
    """No speaker in both training and test; adds the C chosen in each fold."""
    if len(np.unique(speakers_N)) < 2:
        return ProtocolResult(impossible="all clips are of one speaker, so none can be held out")
    folds_N = speaker_folds(speakers_N, seed)
    found = ProtocolResult(folds_N=folds_N)
    with progress(len(SPEAKER_INDEPENDENT_SETS), "speaker-independent protocol", "feature sets") as bar:
        for name in SPEAKER_INDEPENDENT_SETS:
            predicted_N, penalties = regularised_predictions(features[name], labels_N, speakers_N, folds_N, seed)
            found.predicted[name] = predicted_N
            pooled = recalls(predicted_N, labels_N, speakers_N, seed=seed)
            figures = SpeakerIndependentRecalls(pooled.uar, pooled.war, pooled.resampled, tuple(penalties))
            found.figures[name] = figures
            bar.update()
    return found


NO_CEILING = (
    "a student on a frozen network has no ceiling: with true labels too, all that it can learn is in the embedding"
)


def ceiling_recipe(config: StudentConfig | WhisperConfig, seed: int) -> StudentRecipe | None:
    """The compact recipe around the probed student's own architecture; None for one on a frozen network."""
    if isinstance(config, WhisperConfig) or config.kind == "ssl":
        return None
    return replace(compact(), student=config, batch_size=CEILING_BATCH, seed=seed)


def add_ceiling(
    found: ProtocolResult, read: ProbeFeatures, recipe: StudentRecipe | None, *, steps: int, device: str
) -> str | None:
    """Trains the recipe's student from random weights on the true labels of each speaker-independent fold's training clips.

    The first K of its 8 outputs stand for the classes. Adds "supervised" to `found`, or returns why it cannot.
    """
    names, labels_N, speakers_N = labels_of(read.used)
    classes = len(names)
    if recipe is None:
        return NO_CEILING
    if classes > len(EMOTIONS):
        return f"the corpus has {classes} emotions, the student {len(EMOTIONS)} outputs"
    if found.folds_N is None:
        raise ValueError("the protocol was impossible on this corpus, so there are no folds to train the ceiling on")
    folds = np.unique(found.folds_N)
    targets_NE = hard_logits(labels_N)
    predicted_N = np.empty(len(labels_N), int)
    with progress(steps * len(folds), "supervised ceiling", "steps") as bar:
        for done, fold in enumerate(folds):
            train, test = np.flatnonzero(found.folds_N != fold), np.flatnonzero(found.folds_N == fold)
            if len(train) < 2:
                return "a training fold has a single clip"

            def advance(metrics: EpochMetrics, before: int = done * steps) -> None:
                bar.update(min(steps, metrics.step) - (bar.n - before))

            student = train_on_clips(
                recipe,
                [read.speech[row] for row in train],
                targets_NE[train],
                device=device,
                steps=steps,
                after_epoch=advance,
            )
            for row in test:
                logits_E = student.logits_of_clip(torch.from_numpy(read.speech[row]).to(device))
                predicted_N[row] = int(logits_E[:classes].argmax())
            bar.update((done + 1) * steps - bar.n)
    found.predicted[CEILING] = predicted_N
    found.figures[CEILING] = recalls(predicted_N, labels_N, speakers_N, seed=recipe.seed)
    return None


def labels_of(used: Sequence[CorpusClip]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the K classes, sorted; index of each clip's class (N,); speaker of each clip (N,)."""
    emotions = [clip.emotion or "" for clip in used]
    names = sorted(set(emotions))
    return (
        names,
        np.array([names.index(emotion) for emotion in emotions]),
        np.array([clip.speaker for clip in used]),
    )


def result_of(read: ProbeFeatures, paper: ProtocolResult, independent: ProtocolResult) -> dict:
    """JSON-ready: each protocol's figures by feature set (None where impossible), and what they rest on."""
    used = read.used
    names, labels_N, speakers_N = labels_of(used)
    counts = np.bincount(labels_N)
    reasons = Counter(clip.reject_reason for clip in read.clips if clip.reject_reason)
    protocols = {"paper": paper, "speaker_independent": independent}
    counted = {"n": len(used), "speakers": len(np.unique(speakers_N))}
    resampled = {entry.resampled for found in protocols.values() for entry in found.figures.values()}
    return {
        **{
            name: {features: _entry(figures) | counted for features, figures in found.figures.items()} or None
            for name, found in protocols.items()
        },
        **counted,
        "classes": {name: int(count) for name, count in zip(names, counts, strict=True)},
        "chance": 1 / len(names),
        "largest_class": float(counts.max() / counts.sum()),
        "resampled": resampled.pop() if resampled else None,
        "folds": {name: None if f.folds_N is None else len(np.unique(f.folds_N)) for name, f in protocols.items()},
        "dimensions": {name: values_NF.shape[1] for name, values_NF in read.features.items()},
        "rejected": reasons.total(),
        "reasons": dict(reasons.most_common()),
        "irregular_names": sum(clip.note is not None for clip in used),
        "left_out": {name: found.impossible for name, found in protocols.items() if found.impossible},
    }


def _entry(figures: Recalls) -> dict:
    """Without what all share."""
    return {name: value for name, value in json_ready(figures).items() if name != "resampled"}


def confusion_of(
    independent: ProtocolResult, labels_N: np.ndarray, classes: int, name: str = "embedding"
) -> list[list[int]] | None:
    """Clips by true class (rows) and predicted class (columns); None where the protocol was impossible."""
    if name not in independent.predicted:
        return None
    return confusion_matrix(labels_N, independent.predicted[name], labels=range(classes)).tolist()


def predictions_table(read: ProbeFeatures, paper: ProtocolResult, independent: ProtocolResult) -> pa.Table:
    """One row a clip, used or set aside: labels, folds and the emotion that each protocol and feature set gives it."""
    names, _, _ = labels_of(read.used)
    place = {clip.uri: row for row, clip in enumerate(read.used)}
    rows = [place.get(clip.uri) if clip.reject_reason is None else None for clip in read.clips]
    columns = {
        name: pa.array([getattr(clip, name) for clip in read.clips], pa.string())
        for name in ("file", "speaker", "emotion", "note", "reject_reason", "reject_detail")
    }
    for protocol, found in (("paper", paper), ("speaker_independent", independent)):
        if found.folds_N is None:
            continue
        columns[f"{protocol}_fold"] = pa.array(
            [None if row is None else int(found.folds_N[row]) for row in rows], pa.int32()
        )
        for name, predicted_N in found.predicted.items():
            given = [None if row is None else names[predicted_N[row]] for row in rows]
            columns[f"{protocol}_{name}"] = pa.array(given, pa.string())
    return pa.table(columns)
