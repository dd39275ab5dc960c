"""The page of the transfer benchmark: quality against how often the face fits the voice, with ceiling and control."""

from collections.abc import Sequence

from modeling.emotions import EMOTIONS, FREQUENT_EMOTIONS
from modeling.evaluation.transfer import CHANCE
from pipeline.reports.facts import ReportFacts
from pipeline.reports.figures import new_figure, styled, svg_uri
from pipeline.reports.findings import counted
from pipeline.reports.rendering import render_page
from pipeline.transfer.trials import SUPERVISED

LINE, BAND, DOT = "#0072b2", "#009e73", "#555555"
FEW_SEEDS = 3


def transfer_report(result: dict, rhos: Sequence[str], facts: ReportFacts) -> str:
    """The page. result: the job's JSON; rhos: its keys for students that learned from faces, drawn in order of value."""
    rhos = sorted(rhos, key=float)
    supervised = result[SUPERVISED]
    means = [(float(rho), result[rho]) for rho in rhos]
    measured = [emotion for emotion in EMOTIONS if supervised["auc"][emotion]["value"] is not None]
    return render_page(
        "transfer.html.j2",
        facts,
        result=result,
        rows=[{"name": f"rho {rho}", **result[rho]} for rho in rhos] + [{"name": "true labels", **supervised}],
        curve={"uri": _curve(means, supervised, "mean AUC"), "alt": _in_words("mean AUC", means, supervised)},
        small=[
            {
                "emotion": emotion,
                "uri": _curve(*_of_emotion(emotion, means, supervised), "AUC", small=True),
                "alt": _in_words(f"AUC of {emotion}", *_of_emotion(emotion, means, supervised)),
                "positives": supervised["auc"][emotion]["positives"],
            }
            for emotion in measured
        ],
        control=control_sentence(result),
        ceiling=ceiling_sentence(result),
        limits=transfer_limits(result, measured),
    )


def control_sentence(result: dict) -> str:
    """The negative control's verdict in words."""
    control = result["negative_control"]
    if control is None:
        return "Negative control: not made (rho 0 was not asked for), so nothing shows that no truth leaks in."
    interval = f"{control['low']:.3f} to {control['high']:.3f}"
    if control["contains_chance"]:
        return f"Negative control passed: at rho 0 the interval {interval} contains chance, {CHANCE}."
    single = (
        " One seed shows no scatter of the training; use --seeds 3 before you judge." if result["seeds"] == 1 else ""
    )
    return f"Negative control FAILED: at rho 0 the interval {interval} does not contain chance, {CHANCE}.{single}"


def ceiling_sentence(result: dict) -> str:
    """How far the student gets at rho 1, as a share of the way from chance to the student with true labels."""
    share = result["transfer_of_ceiling"]
    if share is None:
        return "The part of the ceiling that is reached needs rho 1 and a ceiling above chance; it is not known here."
    return f"Where every face fits its voice, the student covers {100 * share:.0f} % of the ceiling's distance from chance."


def transfer_limits(result: dict, measured: Sequence[str]) -> list[str]:
    """Sentences on what the figures can and cannot show."""
    supervised, seeds = result[SUPERVISED], result["seeds"]
    said = [
        f"The figures are of {counted(result['n'], 'held-out clip')} of {counted(result['speakers'], 'speaker')}, "
        f"over {counted(seeds, 'seed')}. A student never heard the speakers that it is scored on."
    ]
    if seeds == 1:
        said.append(
            f"With one seed the intervals come from resampling {supervised['resampled']} alone: how much one training differs "
            "from the next is not in them. Around rho 0 they are too narrow."
        )
    else:
        said.append(
            f"Each end of an interval is the wider one of Student's t over the {seeds} seeds and of resampling "
            f"{supervised['resampled']} within the seeds."
        )
    if 1 < seeds < FEW_SEEDS:
        said.append("Two seeds say little about the scatter between trainings; their t intervals are very wide.")
    if result["rises_with_rho"] is False:
        said.append("The mean does not rise with every step of rho; look whether the intervals overlap.")
    if missing := [emotion for emotion in FREQUENT_EMOTIONS if emotion not in supervised["emotions"]]:
        said.append(f"The mean leaves out {', '.join(missing)}: too few held-out clips with it, or too few without.")
    if rare := [emotion for emotion in EMOTIONS if emotion not in measured and supervised["auc"][emotion]["positives"]]:
        said.append(f"Not measured for want of clips: {', '.join(rare)}.")
    said.append(
        "The speech is acted and each clip's faces are of other people, so the pairing is the only link between voice and "
        "face. In real video they share a person and a moment; the benchmark measures the method, not that link."
    )
    if result["rejected"] or result["left_out"]:
        left_out = sum(result["left_out"].values())
        said.append(
            f"{counted(result['rejected'], 'clip')} could not be read, {counted(left_out, 'clip')} had no FER+ emotion."
        )
    return said


def _of_emotion(emotion: str, means: Sequence[tuple[float, dict]], supervised: dict) -> tuple[list, dict]:
    """`means` and `supervised` with the figures of one emotion."""

    def of(quality: dict) -> dict:
        cell = quality["auc"][emotion]
        return {"mean_auc": cell["value"], **cell}

    return [(rho, of(quality)) for rho, quality in means], of(supervised)


def _in_words(what: str, means: Sequence[tuple[float, dict]], supervised: dict) -> str:
    points = ", ".join(f"{quality['mean_auc']:.2f} at {rho:g}" for rho, quality in means)
    return f"{what} against rho: {points}; with true labels {supervised['mean_auc']:.2f}"


def _curve(means: Sequence[tuple[float, dict]], supervised: dict, label: str, small: bool = False) -> str:
    """AUC against rho with intervals; the seeds are dots, the ceiling is a band and chance a dashed line."""
    with styled():
        figure, axes = new_figure(2.6, 2.1) if small else new_figure(6.6, 3.8)
        figure.set_layout_engine("constrained")
        rho = [x for x, _ in means]
        value = [quality["mean_auc"] for _, quality in means]
        axes.axhspan(supervised["low"], supervised["high"], color=BAND, alpha=0.15, linewidth=0)
        axes.axhline(supervised["mean_auc"], color=BAND, linewidth=1.4, label="true labels (ceiling)")
        axes.axhline(CHANCE, color="#777777", linestyle="--", linewidth=1, label="chance")
        # with few speakers a percentile interval may exclude its value; an error bar cannot be negative
        spread = [[max(0.0, v - q["low"]) for v, (_, q) in zip(value, means, strict=True)]]
        spread.append([max(0.0, q["high"] - v) for v, (_, q) in zip(value, means, strict=True)])
        axes.errorbar(
            rho, value, yerr=spread, color=LINE, marker="o", markersize=4, capsize=3, label="labels from faces"
        )
        dots = [(x, y) for x, quality in means for y in quality["by_seed"]]
        axes.scatter(*zip(*dots, strict=True), s=9, color=DOT, zorder=3, label="one seed")
        every = [y for _, y in dots] + [e for _, q in [*means, (0, supervised)] for e in (q["low"], q["high"])]
        axes.set(xlim=(-0.06, 1.06), ylim=(min(0.4, *every) - 0.02, 1.02), ylabel=label)
        axes.set_xlabel("rho" if small else "rho: how often the face shows the voice's emotion")
        axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        if not small:
            figure.legend(frameon=False, fontsize=9, loc="outside upper left", ncols=4)
        return svg_uri(figure)
