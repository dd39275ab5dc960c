"""The page of a probe: one self-contained HTML text with bars for both protocols and the confusion of the embedding."""

from collections.abc import Sequence

from pipeline.corpora.clip import CorpusClip
from pipeline.rejects import EXPLANATIONS
from pipeline.reports.facts import ReportFacts
from pipeline.reports.figures import new_figure, styled, svg_uri
from pipeline.reports.findings import confusion_cells
from pipeline.reports.rendering import render_page

MEANINGS = {
    "logits": "the student's 8 logits",
    "embedding": "the student's last layer before the logits",
    "random": "random numbers, as many as the student's; they know nothing of the clips",
    "egemaps": "88 functionals of eGeMAPS (openSMILE), chosen by experts for voice and emotion",
    "mean_log_mel": "mean and deviation of each log mel band: loudness, microphone and colour of the voice",
    "supervised": "ceiling: the same network trained with the true labels of each fold's training clips",
}
PROTOCOL_TITLES = {
    "paper": "The paper's protocol: folds of clips, speakers shared",
    "speaker_independent": "The speaker-independent protocol: no speaker in both training and test",
}
OF_STUDENT, OF_OTHERS, OF_CEILING = "#0072b2", "#8a8a8a", "#009e73"
MOST_LISTED = 20
FEW_SPEAKERS = 5


def probe_report(result: dict, clips: Sequence[CorpusClip], facts: ReportFacts) -> str:
    """The page. result: what `emovox probe` prints; clips: all of the corpus, used and rejected."""
    return render_page(
        "probe.html.j2",
        facts,
        result=result,
        meanings=MEANINGS,
        protocols=[_protocol(name, result) for name in PROTOCOL_TITLES],
        confusion=confusion_cells(result["confusion"], list(result["classes"])) if result["confusion"] else [],
        rejects=_rejects(result, clips),
        limits=probe_limits(result),
    )


def _protocol(name: str, result: dict) -> dict:
    figures = result[name]
    drawn = {"uri": None, "alt": None} if figures is None else _bars(figures, result["chance"])
    return {
        "title": PROTOCOL_TITLES[name],
        "figures": figures,
        "why_not": result["left_out"].get(name),
        "folds": result["folds"][name],
        **drawn,
    }


def _bars(figures: dict, chance: float) -> dict:
    """UAR of each feature set with its interval; a dashed line at chance."""
    names = list(figures)[::-1]
    values = [figures[name]["uar"]["value"] for name in names]
    lows = [value - figures[name]["uar"]["low"] for name, value in zip(names, values, strict=True)]
    highs = [figures[name]["uar"]["high"] - value for name, value in zip(names, values, strict=True)]
    colours = {"logits": OF_STUDENT, "embedding": OF_STUDENT, "supervised": OF_CEILING}
    # with few clips a percentile interval may exclude its value; an error bar cannot be negative
    ends = [[max(0.0, length) for length in lengths] for lengths in (lows, highs)]
    with styled():
        figure, axes = new_figure(6.4, 0.7 + 0.34 * len(names))
        axes.barh(
            [name.replace("_", " ") for name in names],
            values,
            xerr=ends,
            color=[colours.get(name, OF_OTHERS) for name in names],
            error_kw={"ecolor": "#1b1b1b", "capsize": 3, "elinewidth": 1},
        )
        axes.axvline(chance, color="#1b1b1b", linestyle="--", linewidth=1)
        axes.set(xlim=(0, 1), xlabel="UAR (dashed: chance)")
        axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.set_layout_engine("constrained")
        uri = svg_uri(figure)
    said = ", ".join(f"{name} {value:.2f}" for name, value in zip(names[::-1], values[::-1], strict=True))
    return {"uri": uri, "alt": f"UAR: {said}; chance {chance:.2f}"}


def _rejects(result: dict, clips: Sequence[CorpusClip]) -> list[dict]:
    explanations = {reason.value: text for reason, text in EXPLANATIONS.items()}
    return [
        {
            "reason": reason,
            "count": count,
            "explanation": explanations.get(reason, ""),
            "items": [clip for clip in clips if clip.reject_reason == reason][:MOST_LISTED],
        }
        for reason, count in result["reasons"].items()
    ]


def probe_limits(result: dict) -> list[str]:
    """Sentences on what the figures can and cannot show, with the numbers."""
    said = [
        "In the paper's protocol each speaker is in training and test, and on some corpora each sentence too: it also "
        "rewards features that recognise a voice or a text. Only the speaker-independent protocol says what to expect "
        "of a new speaker."
    ]
    if result["speakers"] < FEW_SPEAKERS:
        said.append(
            f"There are {result['speakers']} speakers, too few to resample: the intervals resample clips and say nothing of "
            "how much other speakers would differ."
        )
    smallest = min(result["classes"], key=result["classes"].get)
    said.append(
        f"Chance for UAR is {result['chance']:.3f}; always naming the largest class gives a WAR of "
        f"{result['largest_class']:.3f}. The rarest emotion, {smallest}, has {result['classes'][smallest]} clips."
    )
    if "supervised" in (result["speaker_independent"] or {}):
        said.append(
            "The ceiling was trained for a bounded number of steps on this corpus alone. It shows what the network can learn "
            "from so many labelled clips, not the best that is possible; features learnt elsewhere may pass it."
        )
    if result["as_published"]:
        said.append(
            "The student heard files of other rates than 16 kHz too slow or too fast (--as-published). The baselines did not."
        )
    said.append("Acted emotion is clearer than everyday speech; figures of different corpora do not compare.")
    return said
