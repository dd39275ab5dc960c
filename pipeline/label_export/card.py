"""The README.md of an export; for the form huggingface also its dataset card, whose head says where the splits are."""

from collections.abc import Sequence

from modeling.emotions import EMOTIONS
from pipeline.dataset.label_set import LabelSet
from pipeline.label_export.plan import ExportCounts, set_fingerprint
from pipeline.label_export.table import HEADER
from pipeline.rejects import EXPLANATIONS
from pipeline.schema import SPLITS

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))

READ = {
    "webdataset": """```python
import webdataset as wds

data = wds.WebDataset("train-{000000..LAST}.tar", shardshuffle=False).decode()
for utterance in data:
    utterance["flac"], utterance["json"]["emotion"], utterance["json"]["probabilities"]
```

For each utterance there is KEY.flac, 16 kHz mono, and KEY.json. The key is the utterance's id with special characters as %XX.""",
    "huggingface": """```python
from datasets import load_dataset

data = load_dataset("FOLDER")
```

`audio` is 16 kHz mono FLAC, `emotion` a ClassLabel.""",
    "csv": """One line an utterance, with the columns {columns}.
A text that a spreadsheet would take for a formula has ' before it.""",
}

FIELDS = """`frame_logits` are the teacher's raw outputs for each face picture, `frame_indices` their places on a grid with one
every 0.24 s, `logits` their element-wise maximum over the utterance."""


def card(labels: LabelSet, counts: ExportCounts, *, form: str, files: Sequence[str], temperature: float) -> str:
    labelled = labels.table.filter(labels.labelled_N)
    speakers, videos = (len(labelled[name].unique()) for name in ("speaker_id", "video_id"))
    parts = [
        _head(counts) if form == "huggingface" else "",
        "# Emotion in speech, labelled by faces",
        f"{counts.exported:,} utterances with soft labels of eight emotions, from {videos:,} videos of {speakers:,} speakers. "
        "The labels were not given by people and not taken from the voice: a network looked at the speaker's face in the video. "
        "Written by `emovox export-labels`.",
        "## Source\n\n" + _source(labels),
        "## Utterances\n\n" + _counts(counts),
        "## Labels\n\n" + _labels(form, temperature),
        "## Reading it\n\n" + _reading(form, files),
        _use(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(counts: ExportCounts) -> str:
    size = next((size for most, size in SIZES if counts.exported < most), "10M<n<100M")
    splits = [line for split in counts.emotions for line in (f"  - split: {split}", f"    path: data/{split}-*")]
    tags = ["speech", "emotion", "knowledge-distillation"]
    return "\n".join(
        [
            *("---", "pretty_name: Emotion in speech, labelled by faces", "license: other"),
            *("task_categories:", "- audio-classification", "tags:", *(f"- {tag}" for tag in tags)),
            *("size_categories:", f"- {size}", "configs:", "- config_name: default", "  data_files:", *splits, "---"),
        ]
    )


def _source(labels: LabelSet) -> str:
    teachers = ", ".join(f"`{_code(teacher)}`" for teacher in labels.teachers) or "not recorded"
    facts = {
        "teacher (name@sha256 of the weights)": teachers,
        "manifest (sha256)": f"`{_code(labels.manifest)}`" if labels.manifest else "not recorded",
        "distillation set (fingerprint)": f"`{set_fingerprint(labels)}`",
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())


def _counts(counts: ExportCounts) -> str:
    splits = [split for split in SPLITS if split in counts.emotions]
    lines = [f"| emotion | {' | '.join(splits)} |", f"| --- |{' ---: |' * len(splits)}"]
    lines += [
        f"| {emotion} | {' | '.join(f'{counts.emotions[split][emotion]:,}' for split in splits)} |"
        for emotion in EMOTIONS
    ]
    lines.append(f"| all | {' | '.join(f'{sum(counts.emotions[split].values()):,}' for split in splits)} |")
    said = [
        "\n".join(lines),
        "By dominant emotion. `heard` and `unheard` are for testing: speakers who are in `train` too, and who are not.",
    ]
    if counts.rejected:
        reasons = {reason.value: text for reason, text in EXPLANATIONS.items()}
        rows = [
            f"- {n:,}: {reasons.get(name, name)}"
            for name, n in sorted(counts.reasons.items(), key=lambda item: -item[1])
        ]
        said.append(f"{counts.rejected:,} utterances could not be labelled and are not here:\n\n" + "\n".join(rows))
    if counts.without_speech:
        said.append(f"{counts.without_speech:,} labelled utterances have no speech and are not here either.")
    return "\n\n".join(said)


def _labels(form: str, temperature: float) -> str:
    columns = "the columns of the emotions" if form == "csv" else "`probabilities`"
    said = [
        f"The order of the emotions is {', '.join(EMOTIONS)}. `emotion` is the dominant one. In {columns} stands the softmax of "
        f"the utterance's logits divided by a temperature of {temperature:g}; an emotion that the teacher does not know has 0."
    ]
    return "\n\n".join(said if form == "csv" else [*said, FIELDS])


def _reading(form: str, files: Sequence[str]) -> str:
    last = max((name for name in files if name.startswith("train-")), default="train-000000.tar")
    return READ[form].replace("LAST", last[6:12]).replace("{columns}", ", ".join(f"`{name}`" for name in HEADER))


def _use() -> str:
    return """## Limits

- The labels say what a network saw in faces, not what people felt, and not what a listener would hear. Its mistakes and
  leanings are in them.
- Talking moves the mouth, which a network for faces can take for an expression. Rare emotions have few examples.
- Do not use it, or a model that learned from it, to judge single people, in hiring, schooling, policing or care, nor to
  recognise who is speaking.

## Licence

The recordings and the teacher have terms of their own, which bind these labels and this speech too: read them before you pass
anything on. Nothing here gives rights to them."""
