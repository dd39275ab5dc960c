"""RML and eNTERFACE'05, the paper's two corpora: speakers are folders, and some names are irregular."""

import re
from pathlib import PurePosixPath

from pipeline.corpora.clip import SIX_EMOTIONS, ClipName, NameProblem
from pipeline.rejects import RejectReason

RML_EXPECTS = "files such as rml-1/s1/an1.avi, or with a folder of the language: rml-1/s1/english/an1.avi"
RML_SPEAKER = re.compile(r"s\d+", re.IGNORECASE)
RML_NAME = re.compile(r"(an|di|fe|ha|sa|su)[ _-]*\d.*", re.IGNORECASE)

ENTERFACE_EXPECTS = "files such as subject 1/anger/sentence 1/s1_an_1.avi"
ENTERFACE_SPEAKER = re.compile(r"subject[ _-]?0*(\d+)", re.IGNORECASE)
ENTERFACE_NAME = re.compile(r"s_?0*(?P<speaker>\d+)_(?P<emotion>an|di|fe|ha|sa|su)(_\d+)?", re.IGNORECASE)


def rml_clip(path: str) -> ClipName:
    """Speaker from the nearest folder s1 to s8, emotion from the first two letters of the name (getRmlImdb.m)."""
    *folders, _ = PurePosixPath(path).parts
    name = RML_NAME.fullmatch(PurePosixPath(path).stem)
    speakers = [folder for folder in folders if RML_SPEAKER.fullmatch(folder)]
    if name is None or not speakers:
        raise NameProblem(RejectReason.UNKNOWN_NAME, f"expected {RML_EXPECTS}")
    emotion = SIX_EMOTIONS[name[1].lower()]
    return ClipName(speaker=speakers[-1].lower(), emotion=emotion, recording=_without_suffix(path))


def enterface_clip(path: str) -> ClipName:
    """Speaker and emotion from the folders, as in the authors' code (getEnterfaceImdb.m).

    53 names are irregular: subject 6 has no sentence folders, one file is called s_3_su_1.avi, subject 11 holds s12_*. A
    file whose name differs from its folders is used, with a note.
    """
    *folders, _ = PurePosixPath(path).parts
    subjects = [
        (place, found[1]) for place, folder in enumerate(folders) if (found := ENTERFACE_SPEAKER.fullmatch(folder))
    ]
    place, number = subjects[-1] if subjects else (len(folders), "")
    below = [folder.lower() for folder in folders[place + 1 :]]
    emotions = [folder for folder in below if folder in SIX_EMOTIONS.values()]
    if not emotions:
        raise NameProblem(RejectReason.UNKNOWN_NAME, f"expected {ENTERFACE_EXPECTS}")
    note = _difference(PurePosixPath(path).stem, number, emotions[0])
    return ClipName(speaker=f"subject {number}", emotion=emotions[0], recording=_without_suffix(path), note=note)


def _difference(stem: str, number: str, emotion: str) -> str | None:
    """How a file's name differs from the folders it is in; None if it agrees."""
    name = ENTERFACE_NAME.fullmatch(stem)
    if name is None:
        return f"irregular name; taken as subject {number}, {emotion}, by its folders"
    said = {"subject": (name["speaker"], number), "emotion": (SIX_EMOTIONS[name["emotion"].lower()], emotion)}
    differing = [
        f"{what} {by_name} by name, {by_folder} by folder"
        for what, (by_name, by_folder) in said.items()
        if by_name != by_folder
    ]
    return f"{'; '.join(differing)}; the folder counts" if differing else None


def _without_suffix(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
