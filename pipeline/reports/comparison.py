"""The page of a comparison of two distillation sets: what becomes of each emotion, how sure both are, and who changed most."""

from collections.abc import Mapping, Sequence

import numpy as np

from modeling.emotions import EMOTIONS
from pipeline.comparison.faces import Shown
from pipeline.comparison.figures import ChangedUtterance, Comparison, RejectChange, Reliability
from pipeline.rejects import EXPLANATIONS
from pipeline.reports.facts import ReportFacts
from pipeline.reports.figures import data_uri, new_figure, styled, svg_uri
from pipeline.reports.findings import confusion_cells, counted
from pipeline.reports.flows import flows
from pipeline.reports.rendering import render_page

MOST_FACES = 6
SHOWN_DIGITS = 10
FEW_UTTERANCES = 30
"""Below this many utterances of an emotion the page says that its share is uncertain."""
OF_A, OF_B = "#0072b2", "#d55e00"

KAPPA_WORDS = (
    (0.0, "poor"),
    (0.2, "slight"),
    (0.4, "fair"),
    (0.6, "moderate"),
    (0.8, "substantial"),
    (1.0, "almost perfect"),
)
"""Landis and Koch 1977, "The Measurement of Observer Agreement for Categorical Data", table on page 165."""


def comparison_report(
    found: Comparison, shown_a: Mapping[str, Shown], shown_b: Mapping[str, Shown], facts: ReportFacts
) -> str:
    """shown_a, shown_b: faces and speech of `found.most_changed`, by utterance id, from each set."""
    return render_page(
        "comparison.html.j2",
        facts,
        found=found,
        short=_short,
        in_words=_in_words(found),
        flows=flows(found.confusion, EMOTIONS),
        confusion=confusion_cells(found.confusion),
        distribution=_distribution(found),
        curves=[_curve("A", "B", found.reliability_a, OF_A), _curve("B", "A", found.reliability_b, OF_B)],
        cards=[_card(one, shown_a.get(one.utterance_id), shown_b.get(one.utterance_id)) for one in found.most_changed],
        reject_changes=[_reject_change(change) for change in found.reject_changes],
        explanations={reason.value: text for reason, text in EXPLANATIONS.items()},
        limits=comparison_limits(found),
    )


def _short(teacher: str) -> str:
    """name@sha256, of which the first digits are enough to tell teachers apart."""
    name, at, sha256 = teacher.rpartition("@")
    return f"{name}@{sha256[:SHOWN_DIGITS]}" if at else teacher


def _in_words(found: Comparison) -> dict[str, str]:
    kappa = found.kappa.value
    word = "" if kappa is None else next(word for most, word in KAPPA_WORDS if kappa <= most)
    changes = {
        (EMOTIONS[i], EMOTIONS[j]): n
        for i, row in enumerate(found.confusion)
        for j, n in enumerate(row)
        if i != j and n
    }
    largest = sorted(changes, key=lambda pair: -changes[pair])[:2]
    said = " and ".join(f"from {a} to {b} ({changes[a, b]:,})" for a, b in largest)
    return {"kappa": word, "largest": f"Most often it changed {said}." if said else ""}


def _distribution(found: Comparison) -> list[dict]:
    """By emotion: shares of A and B as dominant one, and mean probabilities. scale: percent of the width for a share of 1."""
    n = found.overlap.labelled_in_both
    both = (("A", found.distribution_a), ("B", found.distribution_b))
    largest = max(
        max(*each.counts.values(), *(n * p for p in each.mean_probabilities.values())) / n for _, each in both
    )
    return [
        {
            "emotion": emotion,
            "scale": 100 / largest,
            "sides": [
                {
                    "name": name,
                    "n": each.counts[emotion],
                    "share": each.counts[emotion] / n,
                    "mean": each.mean_probabilities[emotion],
                }
                for name, each in both
            ],
        }
        for emotion in EMOTIONS
    ]


def _curve(name: str, other: str, reliability: Reliability, colour: str) -> dict:
    """Confidence of one set on the x axis, how often the other agrees on the y axis; a dot's size tells its utterances."""
    bins = [each for each in reliability.bins if each.n]
    confidence = np.array([each.confidence for each in bins], float)
    agrees = np.array([each.accuracy for each in bins], float)
    sizes = np.array([each.n for each in bins], float)
    with styled():
        figure, axes = new_figure(4.4, 3.6)
        axes.plot([0, 1], [0, 1], color="#777777", linestyle="--", linewidth=1)
        axes.plot(confidence, agrees, color=colour, linewidth=1.2, alpha=0.6)
        axes.scatter(
            confidence, agrees, s=18 + 240 * sizes / sizes.max(), color=colour, alpha=0.75, linewidth=0, clip_on=False
        )
        axes.set(
            xlim=(0, 1.03),
            ylim=(0, 1.03),
            xlabel=f"probability of {name}'s emotion in {name}",
            ylabel=f"share in which {other} agrees",
        )
        axes.set_aspect("equal")
        axes.grid(color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.set_layout_engine("constrained")
        uri = svg_uri(figure)
    ends = [bins[0], bins[-1]] if len(bins) > 1 else bins
    said = ", ".join(f"at {each.confidence:.2f}: {each.accuracy:.2f}" for each in ends)
    return {
        "name": name,
        "other": other,
        "gap": reliability.gap,
        "uri": uri,
        "alt": f"How often {other} agrees by {name}'s probability; {said}",
    }


def _card(one: ChangedUtterance, in_a: Shown | None, in_b: Shown | None) -> dict:
    in_a, in_b = in_a or Shown(), in_b or Shown()
    faces = [("A", in_a.thumbnails), ("B", in_b.thumbnails)]
    if in_a.thumbnails == in_b.thumbnails or not in_b.thumbnails:
        faces = [("", in_a.thumbnails)]
    elif not in_a.thumbnails:
        faces = [("", in_b.thumbnails)]
    speech = in_a.speech_flac or in_b.speech_flac
    return {
        "found": one,
        "faces": [(name, [data_uri("image/jpeg", jpeg) for jpeg in _spread(jpegs)]) for name, jpegs in faces],
        "labels": [
            {
                "name": name,
                "emotion": emotion,
                "probabilities": dict(zip(EMOTIONS, p, strict=True)),
                "in_words": _soft(p),
            }
            for name, emotion, p in (
                ("A", one.emotion_a, one.probabilities_a),
                ("B", one.emotion_b, one.probabilities_b),
            )
        ],
        "audio": data_uri("audio/flac", speech) if speech else None,
    }


def _spread(jpegs: tuple[bytes, ...]) -> list[bytes]:
    """At most MOST_FACES of them, evenly spread."""
    chosen = np.unique(np.linspace(0, len(jpegs) - 1, min(MOST_FACES, len(jpegs))).round().astype(int)) if jpegs else []
    return [jpegs[k] for k in chosen]


def _soft(probabilities: Sequence[float]) -> str:
    best = [k for k in np.argsort(-np.asarray(probabilities))[:3] if probabilities[k] >= 0.01]
    return ", ".join(f"{EMOTIONS[k]} {100 * probabilities[k]:.0f}\N{NO-BREAK SPACE}%" for k in best)


def _reject_change(change: RejectChange) -> dict:
    return {"a": change.a or "labelled", "b": change.b or "labelled", "n": change.utterances}


def comparison_limits(found: Comparison) -> list[str]:
    """Sentences on what the figures can and cannot show, with the numbers."""
    said = [
        "Neither set is the truth. Where they differ, one of them is wrong, or both are; where they agree, both may be. What a "
        "person sees was not asked: look at the faces and listen to the voices above, or score the teachers on labelled faces "
        "with emovox evaluate-teacher."
    ]
    if found.resampled is None:
        said.append(
            f"There are no intervals: {counted(found.speakers, 'speaker')} are too few to resample, and so many utterances "
            "of so few people say nothing about others."
        )
    elif found.resampled == "utterances":
        said.append(
            f"The intervals resample utterances, because there are too few speakers to resample ({found.speakers}). They are too "
            "narrow for a statement about new speakers."
        )
    rare = [e for e, each in found.agreement_by_emotion.items() if 0 < each.n < FEW_UTTERANCES]
    if rare:
        said.append(
            f"Fewer than {FEW_UTTERANCES} utterances are {', '.join(rare)} in A; their shares hang on single utterances."
        )
    said.append(
        "A student learns from soft labels of windows, pooled over frames, and not from the dominant emotion of whole "
        "utterances: a small change of a probability counts in the distances, and not in the agreement."
    )
    said.append(
        "The utterances shown changed most of all. They are no picture of the usual one: the mean distance is "
        f"{found.js.value:.2f} on a scale from 0 to 1."
    )
    return said
