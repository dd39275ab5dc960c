"""The page of a zero-shot exam: one self-contained HTML text."""

from collections.abc import Mapping
from typing import Any

from modeling.emotions import EMOTIONS
from pipeline.reports.facts import ReportFacts
from pipeline.reports.findings import confusion_cells
from pipeline.reports.rendering import render_page

MEANINGS = {
    "raw": "the probabilities as predict gives them",
    "logits": "its logits, which do not depend on each other as probabilities do",
    "corrected": "with the prior of its training set taken out",
    "speaker_centred": "with the mean of each speaker's own logits taken off: how a clip differs from that person's others",
}
PEER_MEANINGS = {
    "egemaps": "eGeMAPS (openSMILE), logistic regression",
    "embedding": "the student's own embedding, logistic regression",
}


def zero_shot_report(exam: Mapping[str, Any], facts: ReportFacts) -> str:
    """exam: the content of zero_shot.json."""
    emotions = list(exam["positives"])
    return render_page(
        "zero_shot.html.j2",
        facts,
        exam=exam,
        meanings=MEANINGS,
        peer_meanings=PEER_MEANINGS,
        confusions={
            name: confusion_cells(scores["confusion"], sorted(emotions, key=EMOTIONS.index))
            for name, scores in exam["variants"].items()
        },
        limits=zero_shot_limits(exam),
    )


def zero_shot_limits(exam: Mapping[str, Any]) -> list[str]:
    """What the figures can and cannot show, with the numbers in the sentences."""
    said = [
        "No label of this corpus was used for the student's answers. Taking off each speaker's mean needs several clips of each "
        "person, with emotions about equally often; where a person is mostly of one emotion, it takes that emotion off."
    ]
    unclear = [
        name for name, cell in exam["variants"]["raw"]["auc"].items() if cell["low"] is not None and cell["low"] <= 0.5
    ]
    if unclear:
        said.append(f"By its raw answers {', '.join(unclear)} cannot be told from guessing: the interval includes 0.5.")
    missing = [name for name, cell in exam["variants"]["raw"]["auc"].items() if cell["value"] is None]
    if missing:
        said.append(f"Too few clips show {', '.join(missing)}; there is no AUC, and the mean is over the others.")
    if not exam["knows_its_speakers"]:
        said.append(
            "The student's file does not say whom it heard in training; perhaps it heard people of this corpus."
        )
    if exam["other_emotions"]:
        others = ", ".join(f"{name} ({count})" for name, count in exam["other_emotions"].items())
        said.append(f"Left out, since the student has no such output: {others}.")
    said.append("Acted emotion is clearer than everyday speech; figures of different corpora do not compare.")
    return said
