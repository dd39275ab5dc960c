"""The tables of zero-shot exams in a student's card, in Markdown."""

from collections.abc import Sequence

CHANCE, GOOD = 0.5, 0.7
"""An AUC whose interval includes the first is a guess; one whose interval lies above the second is worth naming."""

VARIANTS = {
    "raw": "probabilities",
    "logits": "logits",
    "corrected": "prior taken out",
    "speaker_centred": "each speaker's own mean off",
}


def exam_section(exams: Sequence[dict]) -> str:
    """exams: the content of zero_shot.json, one a corpus."""
    lines = [
        "## What it is worth on speech with true emotions",
        "",
        "By `emovox probe --protocol zero-shot`: one-vs-rest ROC-AUC of its own eight outputs against the true emotion, on",
        "corpora of which it heard nothing, with 95 % intervals that resample speakers; 0.5 is chance. Each mean is over the",
        "emotions of that corpus.",
        "",
        f"| corpus | clips | speakers | {' | '.join(VARIANTS.values())} |",
        f"| --- | --- | --- |{' --- |' * len(VARIANTS)}",
        *(_corpus_row(exam) for exam in exams),
        "",
        *(line for exam in exams for line in (*_emotion_table(exam), _in_words(exam), "")),
    ]
    return "\n".join(lines).rstrip()


def _corpus_row(exam: dict) -> str:
    figures = " | ".join(_figure(exam["variants"][name]["mean_auc"]) for name in VARIANTS)
    return f"| {exam['corpus']} | {exam['n']} | {exam['speakers']} | {figures} |"


def _emotion_table(exam: dict) -> list[str]:
    rows = []
    for emotion, count in exam["positives"].items():
        figures = " | ".join(_figure(exam["variants"][name]["auc"][emotion]) for name in VARIANTS)
        rows.append(f"| {emotion} | {count} | {figures} |")
    head = f"| {exam['corpus']}: emotion | clips | {' | '.join(VARIANTS.values())} |"
    return [head, f"| --- | --- |{' --- |' * len(VARIANTS)}", *rows, ""]


def _in_words(exam: dict) -> str:
    """What it is good and bad at, by the intervals of the best that can be made of its answers."""
    auc = {name: cell for name, cell in exam["variants"]["speaker_centred"]["auc"].items() if cell["low"] is not None}
    best = [name for name, cell in sorted(auc.items(), key=lambda item: -item[1]["value"]) if cell["low"] > GOOD]
    guessed = [name for name, cell in auc.items() if cell["low"] <= CHANCE]
    said = (
        f"On {exam['corpus']} it is best at {', '.join(best)}" if best else f"On {exam['corpus']} it is good at nothing"
    )
    return said + (f"; its answers for {', '.join(guessed)} are no better than guessing." if guessed else ".")


def _figure(estimate: dict) -> str:
    if estimate["value"] is None:
        return "not estimable"
    ends = "" if estimate["low"] is None else f" ({estimate['low']:.2f} to {estimate['high']:.2f})"
    return f"{estimate['value']:.3f}{ends}"
