"""The page of `emovox demo`: a whole run, from the videos to the student, in one HTML text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.rejects import EXPLANATIONS
from pipeline.reports import figures
from pipeline.reports.facts import ReportFacts
from pipeline.reports.findings import auc_tables, evaluation_limits, size_limits, split_order
from pipeline.reports.rendering import render_page
from pipeline.reports.utterance_card import utterance_card
from pipeline.reports.zero_shot import MEANINGS

PAGE_BYTES = 5_000_000
"""Sound is embedded only while the page stays below this; pictures always are."""
TEXT_BYTES, CARD_TEXT_BYTES = 100_000, 6_000
"""Bytes reserved for the text of the page and of each card."""
MOST_DETAILED = 40
MOST_REJECTS_LISTED = 40
HEAVY_COLUMNS = ("frame_logits", "frame_boxes", "face_tracks", "thumbnails", "speech_flac")


@dataclass(frozen=True, kw_only=True)
class ShippedStudent:
    """The student that comes with the project. evaluations: on the utterances of the page, split -> result; exams: contents of
    zero_shot.json, one a corpus."""

    name: str
    evaluations: Mapping[str, dict]
    exams: Sequence[Mapping[str, Any]]


def demo_report(
    table: pa.Table,
    *,
    training: Sequence[Mapping[str, Any]],
    evaluations: Mapping[str, dict],
    timelines: Mapping[str, Mapping[str, dict]],
    shipped: ShippedStudent | None = None,
    facts: ReportFacts,
    max_detailed: int = MOST_DETAILED,
) -> str:
    """The page for a whole run, from labelling to evaluation.

    table: `DISTILLATION_SCHEMA`; training: a dict per epoch (epoch, loss, lr, optional val_mean_auc); evaluations: split ->
    result; timelines: student -> utterance_id -> {"times_s": window centres in seconds from the start of the utterance,
    "probabilities": n x 8}; shipped: the student that comes with the project, to compare with. At most `max_detailed`
    utterances are drawn, spread evenly over the list.
    """
    rows = table.drop_columns(list(HEAVY_COLUMNS)).to_pylist()
    labelled = [k for k, row in enumerate(rows) if row["reject_reason"] is None]
    labelled.sort(
        key=lambda k: (split_order(rows[k]["split"]), rows[k]["video_id"], rows[k]["start_s"], rows[k]["utterance_id"])
    )
    detailed = labelled
    if len(labelled) > max_detailed:
        detailed = [labelled[k] for k in np.linspace(0, len(labelled) - 1, max_detailed).round().astype(int)]
    drawn = table.take(pa.array(detailed, pa.int64())).to_pylist()
    cards = [
        utterance_card(
            row, {name: of[row["utterance_id"]] for name, of in timelines.items() if row["utterance_id"] in of}
        )
        for row in drawn
    ]
    _keep_within_page(cards)
    summary = _summary([rows[k] for k in labelled], rows)
    return render_page(
        "report.html.j2",
        facts,
        summary=summary,
        cards=cards,
        distribution=_distribution([rows[k] for k in labelled]),
        rejects=_rejects(rows),
        curves=_curves(training),
        evaluations=auc_tables(evaluations),
        shipped=None if shipped is None else _beside(evaluations, shipped),
        limits=[
            *size_limits(
                summary["labelled"], summary["labelled_videos"], summary["labelled_speakers"], summary["speech_s"]
            ),
            *evaluation_limits(evaluations),
        ],
    )


def _beside(evaluations: Mapping[str, dict], shipped: ShippedStudent) -> dict:
    """The trained student and the shipped one on the same utterances, and what the shipped one is worth elsewhere."""
    splits = [split for split in sorted(evaluations, key=split_order) if split in shipped.evaluations]
    return {
        "name": shipped.name,
        "agreement": [
            (split, _mean_auc(evaluations[split]), _mean_auc(shipped.evaluations[split])) for split in splits
        ],
        "exams": shipped.exams,
        "meanings": MEANINGS,
    }


def _mean_auc(evaluation: Mapping[str, Any]) -> dict:
    return {end: evaluation.get(f"mean_auc{name}") for end, name in (("value", ""), ("low", "_low"), ("high", "_high"))}


def _keep_within_page(cards: list[dict]) -> None:
    """Drops the sound of cards that would make the page larger than `PAGE_BYTES`; the first cards keep theirs."""
    pictures = ("teacher", "students", "thumbnails", "sound")
    used = sum(len(repr(card[name])) for card in cards for name in pictures) + TEXT_BYTES + CARD_TEXT_BYTES * len(cards)
    for card in cards:
        bytes_of_sound = len(card["audio"] or "")
        card["audio_left_out"] = used + bytes_of_sound > PAGE_BYTES
        if card["audio_left_out"]:
            card["audio"] = None
        else:
            used += bytes_of_sound


def _summary(labelled: list[dict], rows: list[dict]) -> dict:
    speech_s = sum((row["speech_samples"] or 0) for row in labelled) / SAMPLE_RATE_HZ
    return {
        "videos": len({row["video_id"] for row in rows}),
        "utterances": len(rows),
        "labelled": len(labelled),
        "labelled_videos": len({row["video_id"] for row in labelled}),
        "labelled_speakers": len({row["speaker_id"] for row in labelled}),
        "rejected": len(rows) - len(labelled),
        "speech_s": speech_s,
        "frames": sum(len(row["frame_indices"]) for row in labelled),
        "work_s": {name: sum(row[f"{name}_s"] or 0 for row in rows) for name in ("decode", "detect", "teacher")},
    }


def _distribution(labelled: list[dict]) -> dict:
    """Number of utterances by split and dominant emotion, and the largest of them, which sets the scale."""
    splits = sorted({row["split"] for row in labelled}, key=split_order)
    counts = {split: Counter(row["emotion"] for row in labelled if row["split"] == split) for split in splits}
    return {"counts": counts, "largest": max((n for counter in counts.values() for n in counter.values()), default=1)}


def _rejects(rows: list[dict]) -> list[dict]:
    """The reasons, most frequent first, each with its first utterances."""
    reasons = Counter(row["reject_reason"] for row in rows if row["reject_reason"] is not None)
    return [
        {
            "reason": reason,
            "count": count,
            "explanation": EXPLANATIONS.get(reason, ""),
            "items": [row for row in rows if row["reject_reason"] == reason][:MOST_REJECTS_LISTED],
        }
        for reason, count in reasons.most_common()
    ]


def _curves(training: Sequence[Mapping[str, Any]]) -> list[dict]:
    """Loss, learning rate and, if it was measured, validation AUC over the epochs."""
    curves = []
    for key, label in (("loss", "loss"), ("val_mean_auc", "mean AUC on val"), ("lr", "learning rate")):
        points = [(epoch["epoch"], epoch[key]) for epoch in training if epoch.get(key) is not None]
        if points:
            epochs, values = zip(*points, strict=True)
            alt = f"{label} per epoch: {values[0]:.3g} in epoch {epochs[0]}, {values[-1]:.3g} in epoch {epochs[-1]}"
            curves.append({"alt": alt, "uri": figures.training_curve(list(epochs), list(values), label)})
    return curves
