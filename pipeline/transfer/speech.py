"""Labelled emotional speech for the transfer benchmark: a CSV of clips, and the clips in memory as FLAC."""

import csv
import io
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from cluster import storage
from cluster.failures import UserError
from cluster.progress import progress
from modeling.emotions import EMOTIONS
from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.media.flac import encode_flac
from pipeline.media.source_files import SourceFiles
from pipeline.media.speech import STUDIO_SILENCE_DB, read_speech, require_speech
from pipeline.rejects import Rejected, RejectReason

COLUMNS = ("file", "speaker", "emotion", "ferplus_class")
READ_THREADS = 4


@dataclass(frozen=True)
class SpeechFile:
    """A line of the CSV. truth: the clip's emotion, one of EMOTIONS."""

    utterance_id: str
    speaker_id: str
    truth: str
    audio_uri: str


@dataclass(frozen=True)
class SpeechClip:
    """A file that was read: 16 kHz mono FLAC; or why it was not (reject_reason, reject_detail), and then no samples."""

    file: SpeechFile
    speech_flac: bytes | None
    samples: int
    reject_reason: str | None = None
    reject_detail: str | None = None

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE_HZ


def read_speech_csv(uri: str) -> tuple[list[SpeechFile], dict[str, int]]:
    """The clips of a CSV with `COLUMNS`, and how many were left out by emotion (an empty ferplus_class).

    `file` is relative to the CSV, a full path, or a URI. Raises UserError that names the line.
    """
    try:
        text = storage.read_bytes(uri).decode("utf-8-sig")
        lines = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        rows = list(lines)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{uri}: not a readable CSV file ({error}); save it as UTF-8 text") from error
    if missing := [name for name in COLUMNS if name not in (lines.fieldnames or ())]:
        raise UserError(
            f"{uri}: columns {missing} are missing, it has {lines.fieldnames or []}; give a CSV with {', '.join(COLUMNS)}"
        )
    files, left_out = [], Counter()
    for number, row in enumerate(rows, start=2):
        if any(field.strip() for field in row.get(None, ())):
            raise UserError(f"{uri}, line {number}: more fields than the header has; quote a field that holds a comma")
        values = {name: (row[name] or "").strip() for name in COLUMNS}
        if not values["ferplus_class"]:
            left_out[values["emotion"] or "no emotion"] += 1
            continue
        files.append(_checked(uri, number, values | {"ferplus_class": values["ferplus_class"].lower()}))
    if not files:
        raise UserError(
            f"{uri}: no clip has a ferplus_class ({sum(left_out.values())} without); give one of {_listed()}"
        )
    spellings = defaultdict(set)
    for file in files:
        spellings[file.speaker_id.casefold()].add(file.speaker_id)
    if twice := [sorted(names) for names in spellings.values() if len(names) > 1]:
        raise UserError(f"{uri}: speakers that differ in capitals only: {twice}; write each in one way")
    if doubled := [id for id, n in Counter(file.utterance_id for file in files).items() if n > 1]:
        raise UserError(f"{uri}: {doubled[0]} stands on {_lines_of(rows, doubled[0])}; keep one line for each file")
    return files, dict(sorted(left_out.items()))


def _checked(uri: str, number: int, values: dict[str, str]) -> SpeechFile:
    for name in ("file", "speaker"):
        if not values[name]:
            raise UserError(f"{uri}, line {number}: {name} is empty; fill it in, or take the line out")
    if values["ferplus_class"] not in EMOTIONS:
        raise UserError(
            f"{uri}, line {number}: ferplus_class {values['ferplus_class']!r} is no emotion of FER+; give one of {_listed()}, "
            "or leave it empty where none fits"
        )
    file = values["file"]
    is_full = file.startswith("/") or "://" in file
    audio_uri = file if is_full else storage.join(storage.absolute(uri).rpartition("/")[0], file)
    return SpeechFile(file, values["speaker"], values["ferplus_class"], audio_uri)


def _listed() -> str:
    return ", ".join(EMOTIONS)


def _lines_of(rows: list[dict], file: str) -> str:
    return "lines " + ", ".join(str(k) for k, row in enumerate(rows, start=2) if (row["file"] or "").strip() == file)


def read_speech_clips(files: list[SpeechFile]) -> list[SpeechClip]:
    """Every file decoded once, in the given order; about 20 kB of memory for a second of speech.

    A file that cannot be read is a clip with a reject reason, and so is one that sounds sample for sample as an earlier one;
    where those two differ in speaker or emotion, both are. Raises UserError if that is all of them.
    """
    with ThreadPoolExecutor(READ_THREADS) as pool, progress(len(files), "read speech", "clips") as bar:
        clips = []
        for clip in pool.map(_read, files):
            clips.append(clip)
            bar.update(1)
    clips = _without_doubles(clips)
    rejected = [clip for clip in clips if clip.reject_reason]
    if len(rejected) == len(clips):
        first = rejected[0]
        raise UserError(
            f"none of the {len(clips)} clips can be read; the first is {first.file.audio_uri}: {first.reject_reason} "
            f"({first.reject_detail}); is `file` relative to the CSV?"
        )
    return clips


def _without_doubles(clips: list[SpeechClip]) -> list[SpeechClip]:
    """A recording under two names would count twice, under two speakers it would be learned from and scored on."""
    clips, same = list(clips), defaultdict(list)
    for place, clip in enumerate(clips):
        if clip.speech_flac is not None:
            same[clip.speech_flac].append(place)
    for places in same.values():
        agree = len({(clips[place].file.speaker_id, clips[place].file.truth) for place in places}) == 1
        reason = RejectReason.DUPLICATE if agree else RejectReason.CONTRADICTORY_LABELS
        named = [clips[place].file.utterance_id for place in places]
        for place in places[1:] if agree else places:
            others = [name for name in named if name != clips[place].file.utterance_id]
            detail = f"sample for sample the same sound as {', '.join(others[:3])}"
            clips[place] = replace(
                clips[place], speech_flac=None, samples=0, reject_reason=reason.value, reject_detail=detail
            )
    return clips


def _read(file: SpeechFile) -> SpeechClip:
    try:
        with SourceFiles() as sources:
            samples_T = read_speech(sources.path(file.audio_uri), 0.0, None)
        require_speech(samples_T, STUDIO_SILENCE_DB)
    except Rejected as problem:
        return SpeechClip(file, None, 0, problem.reason.value, problem.detail)
    return SpeechClip(file, encode_flac(samples_T), len(samples_T))
