"""The page of a face teacher's evaluation: one self-contained HTML text.

Shape letters: H = W pixels, V = 10 vote columns, E = 8 emotions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.special import softmax

from modeling.emotions import EMOTIONS
from modeling.evaluation.ferplus_accuracy import most_confident_errors, truth_under
from modeling.faces.ferplus import VOTE_COLUMNS, FaceSet
from pipeline.reports.colours import COLOURS
from pipeline.reports.facts import ReportFacts
from pipeline.reports.figures import data_uri, new_figure, styled, svg_uri
from pipeline.reports.findings import confusion_cells, counted
from pipeline.reports.rendering import render_page

MOST_MISTAKES = 24
FEW_FACES = 50
"""With fewer faces, one face changes a recall by more than two points."""
RULE_MEANINGS = {
    "paper": "the paper's cleaning: single votes removed, up to two emotions may share the most votes, which are more than half",
    "majority": "FER+'s majority: single votes removed, one emotion has more than half of the votes",
    "argmax8": "every face with a vote for an emotion; the one with the most votes, the first of a tie",
}


@dataclass(frozen=True)
class Mistake:
    """A face for which the teacher's emotion differs from that of the majority of voters.

    row: its index among the faces read; image_HW: uint8 grey; votes_V: raw counts; probabilities_E: the teacher's.
    """

    row: int
    image_HW: np.ndarray
    votes_V: np.ndarray
    truth: str
    probabilities_E: np.ndarray


def mistakes(faces: FaceSet, logits_NE: np.ndarray, most: int = MOST_MISTAKES) -> list[Mistake]:
    """The most confident errors under the majority rule, in order of confidence."""
    rows = most_confident_errors(logits_NE, faces.votes_NV, most)
    truth_N = truth_under("majority", faces.votes_NV)[1]
    probabilities_NE = softmax(logits_NE[rows].astype(np.float64), axis=1)
    return [
        Mistake(row, faces.images_NHW[row], faces.votes_NV[row], EMOTIONS[truth_N[row]], probabilities_E)
        for row, probabilities_E in zip(rows, probabilities_NE, strict=True)
    ]


def teacher_report(result: dict, examples: Sequence[Mistake], facts: ReportFacts) -> str:
    """The page. result: from `ferplus_accuracy.evaluate_ferplus`, as JSON; examples: all are shown, in their order."""
    return render_page(
        "teacher.html.j2",
        facts,
        result=result,
        rules=[{"name": name, "meaning": RULE_MEANINGS[name], **result["accuracy"][name]} for name in RULE_MEANINGS],
        most_faces=max(result["support"].values()),
        confusion=confusion_cells(result["confusion"]),
        reliability=_reliability_diagram(result["reliability"]),
        mistakes=[_drawn(example) for example in examples],
        limits=teacher_limits(result),
    )


def _drawn(mistake: Mistake) -> dict:
    _, png = cv2.imencode(".png", mistake.image_HW)
    counts = dict(zip(VOTE_COLUMNS, mistake.votes_V.tolist(), strict=True))
    given = {name.replace("_", " "): n for name, n in sorted(counts.items(), key=lambda item: -item[1]) if n}
    total = max(1, sum(counts.values()))
    best = int(mistake.probabilities_E.argmax())
    return {
        "row": mistake.row,
        "picture": data_uri("image/png", png.tobytes()),
        "truth": mistake.truth,
        "predicted": EMOTIONS[best],
        "confidence": float(mistake.probabilities_E[best]),
        "votes": ", ".join(f"{n} {name}" for name, n in given.items()),
        "vote_shares": {emotion: counts[emotion] / total for emotion in EMOTIONS},
        "probabilities": dict(zip(EMOTIONS, mistake.probabilities_E.tolist(), strict=True)),
    }


def _reliability_diagram(bins: list[dict]) -> dict | None:
    """Accuracy against confidence, a dot per bin, with its area for the number of faces; None without faces."""
    filled = [entry for entry in bins if entry["n"]]
    if not filled:
        return None
    most = max(entry["n"] for entry in filled)
    with styled():
        figure, axes = new_figure(4.4, 4.2)
        axes.plot([0, 1], [0, 1], color="#777777", linestyle="--", linewidth=1)
        axes.plot([e["confidence"] for e in filled], [e["accuracy"] for e in filled], color="#0072b2", linewidth=1)
        axes.scatter(
            [e["confidence"] for e in filled],
            [e["accuracy"] for e in filled],
            s=[12 + 250 * e["n"] / most for e in filled],
            color=COLOURS["sadness"],
            alpha=0.75,
            clip_on=False,
            zorder=3,
        )
        axes.set(xlabel="confidence of the teacher", ylabel="share of right answers", xlim=(0, 1), ylim=(0, 1))
        axes.grid(color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.set_layout_engine("constrained")
        uri = svg_uri(figure)
    last = filled[-1]
    confidence, accuracy = (f"{100 * last[name]:.1f} %" for name in ("confidence", "accuracy"))
    alt = (
        f"Share of right answers over confidence in {counted(len(filled), 'bin')}; in the highest, "
        f"{counted(last['n'], 'face')} with {confidence} confidence and {accuracy} right answers"
    )
    return {"uri": uri, "alt": alt}


def teacher_limits(result: dict) -> list[str]:
    """Sentences on what the figures can and cannot show, with the numbers."""
    said = [
        "The intervals say how far chance moves an accuracy on other faces of the same kind. FER+ holds small grey pictures "
        "found by web search; faces of a video, of other people and cameras, may be read better or worse."
    ]
    rare = {emotion: n for emotion, n in result["support"].items() if 0 < n < FEW_FACES}
    if rare:
        listed = ", ".join(f"{emotion} ({n})" for emotion, n in rare.items())
        said.append(f"Too few faces for an exact recall: {listed}. One face more or less moves it by over two points.")
    if absent := [emotion for emotion, n in result["support"].items() if not n]:
        said.append(f"No face of the majority rule shows {', '.join(absent)}: nothing is known about its recall.")
    if result["masked"]:
        said.append(
            f"This teacher does not know {', '.join(result['masked'])}. Such faces count as mistakes in every table; only "
            "the cross-entropy and the temperature leave the votes for it out."
        )
    if result["temperature"] is not None:
        said.append(
            "The temperature is fitted to the votes of the very faces that it is measured on. It aims at the spread of the "
            "votes, so the calibration error, which only asks whether the first answer is right, may be higher there."
        )
    said.append(
        "Accuracies of two publications compare only under one rule and on the same faces: look at the number of faces."
    )
    return said
