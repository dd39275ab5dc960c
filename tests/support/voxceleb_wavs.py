"""A folder like voxceleb1_wav/ and the file of its logits, with every trap that a row can step into.

Wavs are tones whose length their logits have; each wav has a pitch and logits of its own.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.mat_files import NOTHING, WRITERS, contents, formula
from tests.support.tones import write_tone

VIDEO = "Y8hIVOBuels"


def name_of(speaker: int, track: int, video: str = VIDEO) -> str:
    return f"id{10000 + speaker}/{video}/{track:05d}.wav"


@dataclass(frozen=True)
class Published:
    """mat, speech: what the job is given. logits: name -> logits_NE of each entry."""

    mat: Path
    speech: Path
    logits: dict[str, np.ndarray]


def published(
    folder: Path, wavs: int = 12, kind: str = "version 7.3", seconds: float = 4.8, traps: bool = False
) -> Published:
    """`wavs` good ones: speakers 1 to 4, of whom 3 is unheard (set 2), and of 4 some are heard (set 3)."""
    speech = folder / "voxceleb1_wav"
    logits: dict[str, np.ndarray] = {}
    sets: list[int] = []
    for number in range(wavs):
        speaker, track = number % 4 + 1, number // 4 + 1
        name = name_of(speaker, track)
        write_tone(speech / name, 200 + 20 * number, seed=number, seconds=seconds)
        logits[name] = formula(number, seconds)
        sets.append(2 if speaker == 3 else 3 if speaker == 4 and track % 2 else 1)
    if traps:
        for name, of_name in trapped(speech, seconds).items():
            logits[name] = of_name
            sets.append(1)
    path = folder / "senet50-ferplus-logits.mat"
    return Published(WRITERS[kind](path, contents(logits, sets)), speech, logits)


TRAPS = {
    "id10011/noWavAtAll1/00001": "no_wav",
    "id10011/noLogitsRow/00001": "no_logits",
    "id10011/unnamedWav1/00001": "no_logits",
    "id10011/tooManyPics/00001": "lengths_differ",
    "id10011/tooFewPics1/00001": "lengths_differ",
    "id10011/notFinite01/00001": "teacher_not_finite",
    "id10011/twoFiles001/00001": "ambiguous_name",
    "id10011/twoEntries1/00001": "ambiguous_name",
    "id10011/noSoundFile/00001": "not_a_video",
    "id10011/emptyFile01/00001": "empty_file",
    "id10011/silence0001/00001": "silent",
    "id10011/tooShort001/00001": "too_short",
}
GOOD_TRAPS = ("id10012/rate44100hz/00001", "id10012/almostASecL/00001", "id10012/almostASecS/00001")
"""Labelled rows of a kind that is easily rejected."""


def trapped(speech: Path, seconds: float) -> dict[str, np.ndarray]:
    """Writes the wavs; returns the entries."""
    broken = formula(3, seconds)
    broken[2, 5] = np.nan
    entries = {}
    for number, utterance in enumerate([*TRAPS, *GOOD_TRAPS], 100):
        entries[f"{utterance}.wav"] = formula(number, seconds)
        rate = 44_100 if "rate44100hz" in utterance else 16_000
        write_tone(speech / f"{utterance}.wav", 300, seed=number, seconds=seconds, rate_hz=rate)
    (speech / "id10011/noWavAtAll1/00001.wav").unlink()
    entries["id10011/noLogitsRow/00001.wav"] = NOTHING
    del entries["id10011/unnamedWav1/00001.wav"]
    entries["id10011/tooManyPics/00001.wav"] = formula(3, seconds + 1.2)
    entries["id10011/tooFewPics1/00001.wav"] = formula(3, seconds - 1.2)
    entries["id10012/almostASecL/00001.wav"] = formula(3, seconds + 0.96)
    entries["id10012/almostASecS/00001.wav"] = formula(3, seconds - 0.96)
    entries["id10011/notFinite01/00001.wav"] = broken
    copy = speech / "copy" / "id10011/twoFiles001/00001.wav"
    copy.parent.mkdir(parents=True)
    shutil.copy(speech / "id10011/twoFiles001/00001.wav", copy)
    entries["other/id10011/twoEntries1/00001.wav"] = formula(4, seconds)
    (speech / "id10011/noSoundFile/00001.wav").write_text("no sound\n" * 999)
    (speech / "id10011/emptyFile01/00001.wav").write_bytes(b"")
    silent = write_tone(speech / "id10011/silence0001/00001.wav", seconds=seconds)
    silent.write_bytes(silent.read_bytes()[:44] + bytes(silent.stat().st_size - 44))
    entries["id10011/tooShort001/00001.wav"] = formula(5, 0.72)
    write_tone(speech / "id10011/tooShort001/00001.wav", seconds=0.7)
    return entries
