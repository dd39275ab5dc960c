"""The findings of an evaluation, as tables and as plain sentences with the numbers in them."""

from collections.abc import Mapping, Sequence

from modeling.emotions import EMOTIONS, FREQUENT_EMOTIONS
from modeling.evaluation.auc import MIN_POSITIVES
from pipeline.schema import SPLITS

PAPER_UTTERANCES = 153_516
"""Utterances of VoxCeleb1, the paper's set (section 7.2: 148,642 + 4,874)."""
SMALL_SHARE = 0.05
CHANCE = 0.5

SPLIT_MEANINGS = {
    "train": "the utterances the student learned from",
    "val": "not learned from, but used to choose the checkpoint",
    "heard": "test: new utterances of speakers that the student learned from",
    "unheard": "test: speakers that the student never heard",
    "held-out": "test: heard and unheard together",
    "all": "every labelled utterance, also those the student learned from",
}


def split_order(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def auc_tables(evaluations: Mapping[str, dict]) -> list[dict]:
    """One table per split, in the order of `SPLITS`."""
    return [
        {
            "split": split,
            "meaning": SPLIT_MEANINGS.get(split, ""),
            "evaluation": evaluations[split],
            "rows": [
                {"emotion": emotion, "why": _why_not(evaluations[split], emotion), **evaluations[split]["auc"][emotion]}
                for emotion in EMOTIONS
            ],
            "mean_of": ", ".join(evaluations[split].get("mean_auc_emotions") or FREQUENT_EMOTIONS),
        }
        for split in sorted(evaluations, key=split_order)
    ]


def _why_not(evaluation: dict, emotion: str) -> str:
    """Why an AUC has no value."""
    positives = evaluation["auc"][emotion]["positives"]
    others = evaluation["utterances"] - positives
    lacking = (
        counted(positives, "positive") if positives < MIN_POSITIVES else counted(others, "utterance") + " without it"
    )
    return f"not estimable: {lacking}, at least {MIN_POSITIVES} are needed"


def confusion_cells(confusion: Sequence[Sequence[int]], names: Sequence[str] = EMOTIONS) -> list[dict]:
    """Rows by true emotion; a cell's share is relative to its row, None if the row is empty."""
    return [
        {
            "emotion": emotion,
            "n": sum(counts),
            "cells": [{"n": n, "share": n / sum(counts) if sum(counts) else None} for n in counts],
        }
        for emotion, counts in zip(names, confusion, strict=True)
    ]


def _has_interval(cell: dict) -> bool:
    return cell["value"] is not None and cell["low"] is not None


def _without_overlap(evaluations: Mapping[str, dict]) -> Mapping[str, dict]:
    """The single splits, so that no utterance counts twice; with the unions if no single split gives an estimate."""
    single = {split: evaluations[split] for split in SPLITS if split in evaluations}
    estimated = any(_has_interval(cell) for evaluation in single.values() for cell in evaluation["auc"].values())
    return single if estimated else evaluations


def size_limits(labelled: int, videos: int, speakers: int, speech_s: float) -> list[str]:
    """Sentences that compare the amount of training data with the paper's."""
    share = labelled / PAPER_UTTERANCES
    said = [
        f"The set has {counted(labelled, 'labelled utterance')} ({speech_s:,.0f} s of speech) of {counted(videos, 'video')} and "
        f"{counted(speakers, 'speaker')}. The paper used {PAPER_UTTERANCES:,} utterances; this is {100 * share:.2g} % of that."
    ]
    if share < SMALL_SHARE:
        said.append(
            "A set of this size shows that every step works: faces are found, the teacher labels them, the student learns "
            "from the labels, and the result is measured. The student here proves the machinery, not speech emotion recognition."
        )
    return said


def evaluation_limits(evaluations: Mapping[str, dict]) -> list[str]:
    """Sentences on what the AUC values can and cannot show, from their intervals."""
    said = []
    evaluations = _without_overlap(evaluations)
    all_cells = [cell for evaluation in evaluations.values() for cell in evaluation["auc"].values()]
    cells = [cell for cell in all_cells if _has_interval(cell)]
    missing = len(all_cells) - len(cells)
    if cells:
        unclear = sum(cell["low"] <= CHANCE <= cell["high"] for cell in cells)
        width = sum(cell["high"] - cell["low"] for cell in cells) / len(cells)
        said.append(
            f"Of the {counted(len(cells), 'AUC value')} with an interval, {unclear} cannot be told from guessing: the interval "
            f"includes {CHANCE}. The intervals are {width:.2f} wide on average, on a scale that goes from 0 to 1."
        )
    if missing:
        said.append(
            f"{counted(missing, 'AUC value')} could not be estimated with an interval, because too few utterances have the "
            "emotion as their dominant one, or too few have another."
        )
    if evaluations and not set(evaluations) & {"heard", "unheard", "held-out", "all"}:
        said.append(
            "There was no test split: nothing here says how the student does on speech that it did not learn from."
        )
    by_utterance = [
        split for split in sorted(evaluations, key=split_order) if evaluations[split]["resampled"] == "utterances"
    ]
    if by_utterance:
        said.append(
            f"The intervals of {', '.join(by_utterance)} resample utterances, because there are too few speakers to resample. "
            "They are too narrow for a statement about new speakers."
        )
    if evaluations:
        said.append(
            "The truth in these tables is the teacher's dominant emotion, read from the face. They measure agreement with the "
            "teacher; how a person would judge the voice was not asked."
        )
    return said
