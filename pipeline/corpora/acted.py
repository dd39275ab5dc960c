"""RAVDESS, EMO-DB and CREMA-D: acted corpora whose file names hold everything, whatever folder they are in."""

import re
from pathlib import PurePosixPath

from pipeline.corpora.clip import ClipName, NameProblem
from pipeline.rejects import RejectReason

RAVDESS_EXPECTS = "files such as Actor_01/03-01-05-02-01-01-01.wav (modality, channel, emotion, ..., actor)"
RAVDESS_NAME = re.compile(
    r"(?P<modality>0[1-3])-(?P<recording>(?P<channel>0[12])-(?P<emotion>0[1-8])(-\d\d){3}-(?P<actor>\d\d))"
)
RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""Third field, counted from 01 (zenodo.org/records/1188976)."""

EMODB_EXPECTS = "files such as wav/03a01Fa.wav (speaker, text, emotion, version)"
EMODB_NAME = re.compile(r"(?P<speaker>\d\d)[a-z]\d\d(?P<emotion>[WLEAFTN])[a-z]?")
EMODB_EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
"""First letters of the German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral (emodb.bilderbar.info)."""

CREMA_D_EXPECTS = "files such as AudioWAV/1001_DFA_ANG_XX.wav (actor, sentence, emotion, level)"
CREMA_D_NAME = re.compile(r"(?P<actor>\d{4})_[A-Z]{3}_(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_[A-Z]{1,2}")
CREMA_D_EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
"""Source: the README of github.com/CheyneyComputerScience/CREMA-D; one published name ends with a single X."""


def ravdess_clip(path: str) -> ClipName:
    """A recording may exist as sound (03) and as video with sound (01); songs and silent videos are rejected."""
    name = _matched(RAVDESS_NAME, path, RAVDESS_EXPECTS)
    if name["channel"] == "02":
        raise NameProblem(RejectReason.NOT_SPEECH, "song (second field 02)")
    if name["modality"] == "02":
        raise NameProblem(RejectReason.NOT_SPEECH, "video without sound (first field 02)")
    emotion = RAVDESS_EMOTIONS[int(name["emotion"]) - 1]
    return ClipName(speaker=name["actor"], emotion=emotion, recording=name["recording"])


def emodb_clip(path: str) -> ClipName:
    name = _matched(EMODB_NAME, path, EMODB_EXPECTS)
    return ClipName(speaker=name["speaker"], emotion=EMODB_EMOTIONS[name["emotion"]], recording=name[0])


def crema_d_clip(path: str) -> ClipName:
    """The corpus has each recording as wav, mp3 and flv; only one of them is used."""
    name = _matched(CREMA_D_NAME, path, CREMA_D_EXPECTS)
    return ClipName(speaker=name["actor"], emotion=CREMA_D_EMOTIONS[name["emotion"]], recording=name[0])


def _matched(pattern: re.Pattern, path: str, expects: str) -> re.Match:
    found = pattern.fullmatch(PurePosixPath(path).stem)
    if found is None:
        raise NameProblem(RejectReason.UNKNOWN_NAME, f"expected {expects}")
    return found
