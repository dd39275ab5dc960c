"""The model card of a student in Markdown, from run.json: what it is, what it learned from, and how well."""

import math
from collections.abc import Sequence

from modeling.emotions import EMOTIONS
from pipeline.reports.exam_section import exam_section

FLAT = 0.01
"""A mean AUC that changes by less than this after half of the epochs has settled."""


def student_card(run: dict, evaluation: dict | None = None, exams: Sequence[dict] = ()) -> str:
    """run: the content of `distill`'s run.json; evaluation: the content of evaluation.json, if there is one; exams: the
    contents of zero_shot.json, one per corpus."""
    sections = [
        _head(run),
        _data(run),
        _recipe(run),
        _training(run),
        _evaluation(evaluation) if evaluation or not exams else "",
        exam_section(exams) if exams else "",
        _prior(run),
        USE,
        _limits(run),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(run: dict) -> str:
    student = _recipe_of(run).get("student", {})
    return (
        f"# Speech emotion student ({student.get('kind', 'unknown')})\n\n"
        "It hears speech and gives the probabilities of eight emotions and an embedding. It was trained without any labelled "
        "speech: it learned to say from the voice what a face network (the teacher) saw in the speaker's face.\n\n"
        f"{_front_end(run)}Written by `emovox {run['job']}` from its run record; started {run['started']}."
    )


def _front_end(run: dict) -> str:
    """What a whisper student stands on; empty for others."""
    student = _recipe_of(run).get("student", {})
    if student.get("kind") != "whisper":
        return ""
    return (
        f"It is a linear map from the output of layer {student['layers']} of Whisper {student['front_end']} (OpenAI, MIT), mean "
        f"and deviation over {student['window_s']:g} s. Those weights are not part of its file; their sha256 is "
        f"`{run['counts']['front_end_sha256']}`.\n\n"
    )


def _recipe_of(run: dict) -> dict:
    return run.get("inputs", {}).get("recipe", {})


def _data(run: dict) -> str:
    labels, counts = run.get("inputs", {}).get("labels", {}), run.get("counts", {})
    facts = {
        "distillation set": _code(run["configuration"].get("labels")),
        "utterances trained on": counts.get("utterances"),
        "speakers trained on": counts.get("speakers"),
        **(
            {"left out, since another face was nearly as prominent": counts["ambiguous"]}
            if "ambiguous" in counts
            else {}
        ),
        **_linear_facts(counts),
        "held-out utterances (split val)": counts.get("val_utterances"),
        "teacher": _code(_named(labels, "teacher")),
        "face detector": "none (published labels)"
        if labels.get("detector", "") is None
        else _code(_named(labels, "detector")),
    }
    about = run.get("inputs", {}).get("about")
    return "## Data\n\n" + _list(facts) + (f"\n\n{about.strip()}" if about else "")


def _linear_facts(counts: dict) -> dict:
    """Of a student in closed form."""
    if "speech_s" not in counts:
        return {}
    return {
        "minutes of speech": f"{counts['speech_s'] / 60:.1f}",
        "windows": counts["windows"],
        "share of what moves within speakers that it explains in training": f"{counts['explained']:.2f}",
    }


def _named(labels: dict, key: str) -> str | None:
    """An entry of an identity as text. It may be a name and a sha256, or one string."""
    value = labels.get(key)
    return ", ".join(f"{name} {part}" for name, part in value.items()) if isinstance(value, dict) else value


def _recipe(run: dict) -> str:
    recipe = dict(_recipe_of(run))
    student = recipe.pop("student", {})
    rows = {f"student.{name}": value for name, value in student.items()} | recipe
    lines = [f"| {name} | {_cell(value)} |" for name, value in rows.items() if not isinstance(value, dict)]
    return "\n".join(["## Recipe", "", "| option | value |", "| --- | --- |", *lines]) if lines else ""


def _training(run: dict) -> str:
    counts = run.get("counts", {})
    curve = counts.get("curve") or []
    if not curve:
        return ""
    first, last = curve[0], curve[-1]
    seconds = run.get("seconds")
    text = (
        f"{len(curve)} epochs, {last['step']} steps"
        + (f", {seconds:.0f} s in the last run of the command" if seconds else "")
        + f". The loss (cross-entropy at the recipe's temperature) went from {first['loss']:.4f} in the first epoch to "
        f"{last['loss']:.4f} in the last. {_auc_in_words(curve)}"
    )
    return f"## Training\n\n{text}"


def _auc_in_words(curve: list[dict]) -> str:
    scored = [(row["epoch"], row["val_mean_auc"]) for row in curve if row.get("val_mean_auc") is not None]
    if not scored:
        return (
            "No held-out mean AUC was measured: the set has no split val, or too few utterances of each emotion in it."
        )
    best_epoch, best = max(scored, key=lambda point: point[1])
    last_epoch, last = scored[-1]
    first_epoch, first = scored[0]
    text = f"The mean AUC on the split val was {first:.3f} after epoch {first_epoch}, at best {best:.3f} (epoch {best_epoch}) "
    text += f"and {last:.3f} at the end (epoch {last_epoch})."
    late = [auc for epoch, auc in scored if epoch > last_epoch / 2]
    if best - last > FLAT:
        text += " It fell after its best: student_best.safetensors is the student of that epoch."
    elif len(late) > 1 and max(late) - min(late) < FLAT:
        text += " It had settled in the second half."
    return text


def _evaluation(evaluation: dict | None) -> str:
    if evaluation is None:
        return "## Evaluation\n\nNot evaluated yet: `emovox evaluate --student ... --labels ... --out ...`."
    found = evaluation if "auc" in evaluation else next(iter(evaluation["students"].values()))
    lines = [
        "## Evaluation",
        "",
        f"On the split {found['split']}: {found['utterances']} utterances of {found['speakers']} speakers. One-vs-rest ROC-AUC "
        "of the student's probability against the teacher's dominant emotion (not against what a listener would say), with 95 % "
        f"bootstrap intervals that resample {found['resampled']}; 0.5 is chance.",
        "",
        "| emotion | AUC | 95 % interval | positives |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {_auc(row['value'])} | {_interval(row)} | {row['positives']} |"
        for name, row in found["auc"].items()
    ]
    mean = {"low": found["mean_auc_low"], "high": found["mean_auc_high"]}
    over = ", ".join(found["mean_auc_emotions"]) or "none"
    lines.append(f"| mean over {over} | {_auc(found['mean_auc'])} | {_interval(mean)} | |")
    return "\n".join(lines)


def _auc(value: float | None) -> str:
    return "not estimable" if value is None or math.isnan(value) else f"{value:.3f}"


def _interval(row: dict) -> str:
    return "" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"


def _prior(run: dict) -> str:
    prior = run.get("counts", {}).get("prior")
    if not prior:
        return ""
    shares = dict(zip(EMOTIONS, prior, strict=True))
    best = max(shares, key=lambda emotion: shares[emotion])
    table = [
        "| emotion | share |",
        "| --- | --- |",
        *(f"| {name} | {100 * share:.1f} % |" for name, share in shares.items()),
    ]
    strength = run["counts"].get("prior_strength", 1.0)
    return "\n".join(
        [
            "## Prior",
            "",
            f"{_prior_in_words(run)} Raw answers follow it, so {best} is the commonest; `emovox predict` gives answers with the "
            f"prior removed as well (p / prior^{strength:.2f}, normalised).",
            "",
            *table,
        ]
    )


def _prior_in_words(run: dict) -> str:
    if _recipe_of(run).get("student", {}).get("kind") == "whisper":
        return "What it answers to the average voice of its training."
    return "What the teacher saw on average in the training utterances."


USE = """## Use

```python
from pipeline.students.load import read_student

student = read_student("student.safetensors")
student.predict(wave, sample_rate), student.embed(wave, sample_rate)
```

`wave`: float in [-1, 1] or int16, mono or stereo, any rate. Files and timelines:
`emovox predict some.wav --student . --out p.csv --timeline t.csv`."""


def _limits(run: dict) -> str:
    return """## Limits

- It was taught what faces show, not what people feel; the teacher's mistakes and leanings are in it.
- It follows the language, recording and people of its training videos; on others, measure first (`emovox probe`).
- A clip under 1 s is padded, of one over 10 s the centre is used; `emovox predict` cuts long files into stretches.
- Do not use it to judge single people, in hiring, schooling, policing or care.

## Licence

The code is MIT. The weights were learned from the videos and the teacher named above: their terms also bind what was learned
from them, so read those before you pass the weights on."""


def _list(facts: dict) -> str:
    return "\n".join(f"- {name}: {'not recorded' if value is None else value}" for name, value in facts.items())


def _code(value: object) -> str | None:
    return None if value is None else f"`{value}`"


def _cell(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
