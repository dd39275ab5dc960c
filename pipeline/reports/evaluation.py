"""The page of an evaluation: one student in detail, or several compared and then each in detail."""

import math

import pyarrow as pa

from pipeline.evaluation.scores import ScoredRows, rows_of_split
from pipeline.reports.evaluation_figures import probability_panels, roc_curves
from pipeline.reports.facts import ReportFacts
from pipeline.reports.findings import auc_tables, confusion_cells, counted, evaluation_limits
from pipeline.reports.rendering import render_page

AXIS_STEP = 0.05
"""The axis of a plot of differences ends at a multiple of this."""


def evaluation_report(
    results: dict[str, dict], differences: dict[str, dict], scores: dict[str, pa.Table], facts: ReportFacts
) -> str:
    """results: student -> `scoring.evaluate_scores` on the chosen split, with `splits` (the same for each split) and the
    fields of `comparison.origin`; differences: from `comparison.differences`; scores: student -> table of `SCORE_SCHEMA`.
    """
    students = [_drawn(name, result, scores[name]) for name, result in results.items()]
    return render_page(
        "evaluation.html.j2",
        facts,
        students=students,
        comparison=_comparison(next(iter(results.values())), differences) if differences else None,
        warnings=[warning for name, result in results.items() for warning in origin_warnings(name, result)],
        limits=_limits(results),
    )


def _drawn(name: str, result: dict, scores: pa.Table) -> dict:
    split = result["split"]
    answers = ScoredRows.of(rows_of_split(scores, split))
    others = {other: found for other, found in result["splits"].items() if other != split}
    return {
        "name": name,
        "result": result,
        "mean": {"value": result["mean_auc"], "low": result["mean_auc_low"], "high": result["mean_auc_high"]},
        "table": auc_tables({split: result})[0],
        "other_tables": auc_tables(others),
        "roc": roc_curves(answers, result),
        "panels": probability_panels(answers, result),
        "confusion": {kind: counts and confusion_cells(counts) for kind, counts in result["confusion"].items()},
    }


def _comparison(first: dict, differences: dict[str, dict]) -> dict:
    """What the tables that compare several students share."""
    where = f"{counted(first['utterances'], 'utterance')} of {counted(first['speakers'], 'speaker')}"
    axes = (("mean_auc", "mean AUC"), ("kl", "KL"))
    return {
        "utterances": f"{first['split']}: {where}",
        "resampled": first["resampled"],
        "axes": [{"label": label, **_axis(differences, measure)} for measure, label in axes],
    }


def _axis(differences: dict[str, dict], measure: str) -> dict:
    """One forest plot: the differences of a measure, on an axis that ends at a round number on both sides of 0."""
    shown = {name: found[measure] for name, found in differences.items()}
    furthest = max(abs(found[side] or 0) for found in shown.values() for side in ("value", "low", "high"))
    reach = AXIS_STEP * max(1, math.ceil(furthest / AXIS_STEP))
    return {"differences": shown, "reach": reach, "scale": (f"−{reach:.2f}", "0", f"+{reach:.2f}")}


def origin_warnings(name: str, result: dict) -> list[str]:
    """What a reader must know before any number: that the student learned from other labels than these."""
    said = []
    if result.get("teacher_differs"):
        said.append(
            f"{name} learned from another teacher ({result['trained_by']}) than the one whose labels it is measured on "
            f"({result['teacher']})."
        )
    if result.get("set_differs"):
        said.append(
            f"{name} learned from another set of utterances: whether these speakers and utterances are new to it is not known."
        )
    return said


def _limits(results: dict[str, dict]) -> list[str]:
    """Sentences about what the figures cannot show: once if they hold for every student, else with the student's name."""
    said = {name: evaluation_limits({result["split"]: result, **result["splits"]}) for name, result in results.items()}
    if masked := next(iter(results.values()))["masked"]:
        known_not = (
            f"The teacher does not know {', '.join(masked)}: nothing is measured about it, and both answers are compared "
            "without it."
        )
        said = {name: [*sentences, known_not] for name, sentences in said.items()}
    first, *others = said.values()
    shared = [sentence for sentence in first if all(sentence in other for other in others)]
    own = [f"{name}: {s}" for name, sentences in said.items() for s in sentences if s not in shared]
    return [*own, *shared]
