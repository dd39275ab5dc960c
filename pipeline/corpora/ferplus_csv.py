"""Labelled speech whose emotions are those of FER+: a CSV of clips with a column that translates the corpus's own emotion."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from cluster.failures import UserError
from modeling.emotions import EMOTIONS
from pipeline.corpora.csv_table import TableRow, beside, read_csv_table
from pipeline.corpora.doubles import require_one_spelling

COLUMNS = ("file", "speaker", "emotion", "ferplus_class")


@dataclass(frozen=True)
class SpeechFile:
    """A row of the CSV. truth: the clip's emotion, one of EMOTIONS."""

    utterance_id: str
    speaker_id: str
    truth: str
    audio_uri: str


def read_speech_csv(uri: str) -> tuple[list[SpeechFile], dict[str, int]]:
    """The clips of a CSV with `COLUMNS`, and how many were left out by emotion (an empty ferplus_class).

    `file` is relative to the CSV, a full path, or a URI. Raises UserError that names the line.
    """
    left_out: Counter[str] = Counter()
    lines: dict[str, list[int]] = defaultdict(list)
    files = []
    for row in read_csv_table(uri, COLUMNS):
        if any(row.values[len(row.header) :]):
            raise UserError(
                f"{uri}, line {row.line}: more fields than the header has; quote a field that holds a comma"
            )
        if not row.name("ferplus_class"):
            left_out[row.value("emotion") or "no emotion"] += 1
            continue
        files.append(_speech_file(uri, row))
        lines[row.value("file")].append(row.line)
    if not files:
        raise UserError(f"{uri}: no clip has a ferplus_class ({left_out.total()} without); give one of {_listed()}")
    require_one_spelling((file.speaker_id for file in files), "speaker", uri)
    if doubled := [file for file, numbers in lines.items() if len(numbers) > 1]:
        numbers = ", ".join(map(str, lines[doubled[0]]))
        raise UserError(f"{uri}: {doubled[0]} stands on lines {numbers}; keep one line for each file")
    return files, dict(sorted(left_out.items()))


def _speech_file(uri: str, row: TableRow) -> SpeechFile:
    file, speaker, truth = row.value("file"), row.name("speaker"), row.name("ferplus_class").lower()
    for name in ("file", "speaker"):
        if not row.name(name):
            raise UserError(f"{uri}, line {row.line}: {name} is empty; fill it in, or take the line out")
    if truth not in EMOTIONS:
        raise UserError(
            f"{uri}, line {row.line}: ferplus_class {truth!r} is no emotion of FER+; give one of {_listed()}, or leave it "
            "empty where none fits"
        )
    return SpeechFile(file, speaker, truth, beside(uri, file))


def _listed() -> str:
    return ", ".join(EMOTIONS)
