"""Pictures of an evaluation as data URIs: ROC curves, and the student's probabilities against the teacher's.

Shape letters: N utterances, E = 8 emotions.
"""

import numpy as np
from sklearn.metrics import roc_curve

from modeling.emotions import EMOTIONS, FREQUENT_EMOTIONS
from modeling.evaluation.divergence import teacher_probabilities
from pipeline.evaluation.scores import ScoredRows
from pipeline.reports.colours import COLOURS
from pipeline.reports.figures import styled, svg_uri

CURVE_POINTS = 200
"""Points of a ROC curve; finer than the picture's pixels."""
DOTS = 300
"""Number of utterances drawn in each panel, chosen at random; the line is over all utterances."""
BINS = 10
EDGE = "#444444"
"""Colour of a thin border around lines, since two of the colours are too light on white."""


def roc_curves(answers: ScoredRows, evaluation: dict) -> dict | None:
    """One curve for each frequent emotion whose AUC is estimable, {"uri", "alt"}; None if there is none.

    evaluation: from `scoring.evaluate_scores` on the same rows.
    """
    from matplotlib.figure import Figure
    from matplotlib.patheffects import Normal, Stroke

    drawn = {emotion: evaluation["auc"][emotion]["value"] for emotion in FREQUENT_EMOTIONS}
    drawn = {emotion: value for emotion, value in drawn.items() if value is not None}
    if not drawn:
        return None
    with styled():
        figure = Figure(figsize=(6.4, 4.4))
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color="#777777", linestyle="--", linewidth=1, label="guessing 0.50")
        for emotion, value in drawn.items():
            false_N, true_N = _roc_points(answers, EMOTIONS.index(emotion))
            outline = [Stroke(linewidth=3, foreground=EDGE), Normal()]
            label = f"{emotion} {value:.2f}"
            axes.plot(false_N, true_N, color=COLOURS[emotion], linewidth=2, path_effects=outline, label=label)
        axes.set(
            xlabel="false positive rate: the other utterances taken for it",
            ylabel="true positive rate: its utterances found",
            xlim=(0, 1),
            ylim=(0, 1.01),
        )
        axes.set_aspect("equal")
        axes.grid(color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.legend(title="area under the curve", frameon=False, loc="center left", bbox_to_anchor=(1.02, 0.5))
        figure.set_layout_engine("constrained")
        uri = svg_uri(figure)
    areas = ", ".join(f"{emotion} {value:.2f}" for emotion, value in drawn.items())
    return {"uri": uri, "alt": f"ROC curves; area under the curve: {areas}"}


def _roc_points(answers: ScoredRows, column: int) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rate, thinned to `CURVE_POINTS` along the length of the curve."""
    false_N, true_N, _ = roc_curve(answers.dominant_N == column, answers.probabilities_NE[:, column])
    if len(false_N) <= CURVE_POINTS:
        return false_N, true_N
    along_N = false_N + true_N
    at = np.linspace(0, along_N[-1], CURVE_POINTS)
    return np.interp(at, along_N, false_N), np.interp(at, along_N, true_N)


def probability_panels(answers: ScoredRows, evaluation: dict) -> dict:
    """A panel for each frequent emotion, {"uri", "alt"}: a dot per utterance, with the teacher's probability on the x axis
    and the student's on the y axis, and the mean of each tenth of the utterances."""
    from matplotlib.figure import Figure

    teacher_NE = teacher_probabilities(answers.logits_NE)
    chosen = np.random.default_rng(0).permutation(len(teacher_NE))[:DOTS]
    with styled():
        figure = Figure(figsize=(10.4, 2.75))
        panels = figure.subplots(1, len(FREQUENT_EMOTIONS), sharex=True, sharey=True)
        for axes, emotion in zip(panels, FREQUENT_EMOTIONS, strict=True):
            column = EMOTIONS.index(emotion)
            teacher_N, student_N = teacher_NE[:, column], answers.probabilities_NE[:, column]
            axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", linewidth=1)
            axes.plot(teacher_N[chosen], student_N[chosen], "o", ms=2.5, mew=0, color=EDGE, alpha=0.3, clip_on=False)
            means = _tenths(teacher_N, student_N)
            line = {"markeredgecolor": EDGE, "markeredgewidth": 0.8, "markersize": 6, "linewidth": 1.2}
            axes.plot(*means, "o-", color=EDGE, markerfacecolor=COLOURS[emotion], **line)
            value = evaluation["spearman"][emotion]["value"]
            axes.set_title(f"{emotion}\nrank correlation {'–' if value is None else f'{value:.2f}'}", fontsize=10)
            axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), xticklabels=("0", "0.5", "1"), xlabel="teacher")
            axes.set_aspect("equal")
        panels[0].set_ylabel("student")
        figure.set_layout_engine("constrained")
        uri = svg_uri(figure)
    return {"uri": uri, "alt": "The student's probability over the teacher's, for each of the five frequent emotions"}


def _tenths(teacher_N: np.ndarray, student_N: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean probabilities of teacher and student in up to ten equal groups of utterances, ordered by the teacher's."""
    shares = [share for share in np.array_split(np.argsort(teacher_N, kind="stable"), BINS) if len(share)]
    return [float(teacher_N[share].mean()) for share in shares], [float(student_N[share].mean()) for share in shares]
