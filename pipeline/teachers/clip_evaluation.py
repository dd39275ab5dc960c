"""A teacher's exam on talking faces: a table of clips whose emotion is known, run through what `label` does to them.

Shape letters: C clips, N frames of all clips, E = 8 emotions, F features.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax

from cluster.failures import UserError
from modeling.distillation.baseline import SpeakerBaseline
from modeling.emotions import EMOTIONS
from modeling.evaluation.bootstrap import Estimate, Resamples
from modeling.evaluation.clip_accuracy import (
    POOLINGS,
    AucOfClips,
    ClipEvaluation,
    LabelledFrames,
    Pooling,
    auc_of_clips,
    evaluate_clips,
)
from modeling.teachers.base import Teacher
from pipeline.corpora.clip import CorpusClip
from pipeline.corpora.csv_table import read_csv_corpus
from pipeline.labelling.sparse_detection import Detect
from pipeline.rejects import count_unforeseen, suspicion
from pipeline.teachers.clip_faces import ClipFaces, faces_of_clips

SCALES = (0.7, 0.8, 0.9, 1.0)
"""Of crops, beside the teacher's own: a side as part of the longer side of the face's box."""

NAMED = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ScaleFigures:
    """What changes with the scale of the crops. mean_auc: from the maximum of a clip's frames."""

    frame_accuracy: Estimate
    clip_accuracy: Estimate
    mean_auc: Estimate


@dataclass(frozen=True, kw_only=True)
class ClipExam:
    """At the teacher's own crop scale, and by scale.

    without_baseline: AUC after each speaker's resting face is taken off (`modeling.distillation.baseline`); None where there
    is one speaker. set_aside: clips that could not be used, by reason; set_aside_files names them.
    """

    crop_scale: float
    figures: ClipEvaluation
    without_baseline: dict[Pooling, AucOfClips] | None
    by_scale: dict[float, ScaleFigures]
    set_aside: dict[str, int]
    set_aside_files: dict[str, str]


def labelled_clips(manifest_uri: str) -> list[CorpusClip]:
    """The rows of a CSV file with the columns file, speaker and emotion; those that lack one are set aside.

    Raises UserError if it cannot be read, or if it names an emotion that is not one of the eight.
    """
    clips = read_csv_corpus(manifest_uri)
    unknown = Counter(clip.emotion for clip in clips if clip.reject_reason is None and clip.emotion not in EMOTIONS)
    if unknown:
        raise UserError(
            f"{manifest_uri}: emotions that no teacher knows: {', '.join(f'{name!r} ({n})' for name, n in unknown.items())}; "
            f"write {', '.join(EMOTIONS)}, and leave out clips of other emotions"
        )
    return clips


def examine(
    teacher: Teacher, clips: Sequence[CorpusClip], detect: Detect, scales: Sequence[float] = SCALES
) -> ClipExam:
    """Raises UserError if no clip can be used."""
    own = teacher.crop_rule.scale
    scales = sorted({own, *scales})
    looked: list[ClipFaces] = []
    answers: dict[float, list[tuple[np.ndarray, np.ndarray | None]]] = {scale: [] for scale in scales}
    for faces in faces_of_clips(clips, detect, teacher.crop_rule, scales):
        looked.append(ClipFaces(faces.clip, {}))
        for scale, crops in faces.crops.items():
            answers[scale].append(teacher.logits_and_features(crops))
    used = [faces.clip for faces in looked if faces.clip.reject_reason is None]
    set_aside = {faces.clip.file: faces.clip for faces in looked if faces.clip.reject_reason is not None}
    if said := suspicion(count_unforeseen(clip.reject_detail for clip in set_aside.values()), len(clips)):
        log.warning("%s", said)
    if not used:
        named = [f"{file}: {clip.reject_reason}, {clip.reject_detail}" for file, clip in set_aside.items()]
        raise UserError(f"none of {len(clips)} clips can be used ({'; '.join(named[:NAMED])})")
    frames = {scale: _frames(answers[scale], used) for scale in scales}
    figures = {scale: evaluate_clips(frames[scale]) for scale in scales}
    return ClipExam(
        crop_scale=own,
        figures=figures[own],
        without_baseline=_without_baseline(frames[own]),
        by_scale={scale: _scale_figures(each) for scale, each in figures.items()},
        set_aside=dict(Counter(str(clip.reject_reason) for clip in set_aside.values())),
        set_aside_files={file: f"{clip.reject_reason}, {clip.reject_detail}" for file, clip in set_aside.items()},
    )


def _frames(answers: Sequence[tuple[np.ndarray, np.ndarray | None]], clips: Sequence[CorpusClip]) -> LabelledFrames:
    features = [features_NF for _, features_NF in answers if features_NF is not None]
    return LabelledFrames(
        logits_NE=np.concatenate([logits_NE for logits_NE, _ in answers]),
        features_NF=np.concatenate(features) if len(features) == len(answers) else None,
        clip_N=np.repeat(np.arange(len(clips)), [len(logits_NE) for logits_NE, _ in answers]),
        truth_C=np.array([EMOTIONS.index(str(clip.emotion)) for clip in clips]),
        speakers_C=np.array([clip.speaker for clip in clips], str),
    )


def _scale_figures(figures: ClipEvaluation) -> ScaleFigures:
    return ScaleFigures(
        frame_accuracy=figures.frame_accuracy, clip_accuracy=figures.clip_accuracy, mean_auc=figures.auc["max"].mean
    )


def _without_baseline(frames: LabelledFrames) -> dict[Pooling, AucOfClips] | None:
    """Each speaker's mean over his clips taken off what is pooled from their frames, before probabilities are made of it."""
    if len(np.unique(frames.speakers_C)) < 2:
        return None
    drawn = Resamples.draw(frames.speakers_C)
    speakers = frames.speakers_C.tolist()
    without: dict[Pooling, AucOfClips] = {}
    for how in POOLINGS:
        pooled_CE = frames.pooled(frames.logits_NE, how)
        moved_CE = SpeakerBaseline.of(pooled_CE, speakers).removed(pooled_CE, speakers)
        without[how] = auc_of_clips(softmax(moved_CE, axis=1), frames, drawn)
    return without
