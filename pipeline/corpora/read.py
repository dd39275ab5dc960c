"""Labelled speech corpora by name: which files a folder or a CSV holds, who speaks in each and with which emotion.

One clip, used or set aside, is one row: both counts add up to what was found. Names and tables are read here; whether a
file opens is found where its speech is read (`pipeline/probe/features.py`).
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from cluster import storage
from cluster.failures import UserError
from pipeline.corpora import acted, csv_table, rml_enterface
from pipeline.corpora.clip import ClipName, CorpusClip, NameProblem
from pipeline.corpora.doubles import Labelled, find_doubles, require_one_spelling
from pipeline.media.file_types import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from pipeline.media.listing import list_media
from pipeline.rejects import RejectReason

MEDIA_SUFFIXES = AUDIO_SUFFIXES + VIDEO_SUFFIXES + (".flv",)  # CREMA-D's videos


@dataclass(frozen=True)
class Corpus:
    """A corpus whose folder tree names its clips."""

    clip: Callable[[str], ClipName]
    """Path below the folder -> what it says; raises NameProblem."""
    expects: str
    """What lies below the folder, for a person who pointed at the wrong place."""


CORPORA = {
    "rml": Corpus(rml_enterface.rml_clip, rml_enterface.RML_EXPECTS),
    "enterface": Corpus(rml_enterface.enterface_clip, rml_enterface.ENTERFACE_EXPECTS),
    "ravdess": Corpus(acted.ravdess_clip, acted.RAVDESS_EXPECTS),
    "emodb": Corpus(acted.emodb_clip, acted.EMODB_EXPECTS),
    "crema-d": Corpus(acted.crema_d_clip, acted.CREMA_D_EXPECTS),
}
"""Beside these, `csv`: any corpus as a table."""


def corpus_name(name: str) -> str:
    """The name as in CORPORA, or "csv", however its capitals and dashes are written. Raises UserError for another."""
    known = {re.sub(r"\W|_", "", each): each for each in [*CORPORA, "csv"]}
    plain = re.sub(r"\W|_", "", name).lower().removesuffix("05")  # eNTERFACE'05
    if plain not in known:
        raise UserError(f"--corpus {name}: not known; use one of {', '.join(known.values())}")
    return known[plain]


def read_corpus(name: str, data_uri: str) -> list[CorpusClip]:
    """The clips of a corpus, used and set aside, in the order of their files or rows.

    Raises UserError where `data_uri` holds no such corpus, or names fewer than two emotions.
    """
    if name == "csv":
        if storage.is_folder(data_uri):
            tables = ", ".join(file.uri for file in storage.list_files(data_uri, (".csv",))) or "there is none"
            raise UserError(f"{data_uri} is a folder; name the table itself ({tables})")
        clips = csv_table.read_csv_corpus(data_uri)
    else:
        clips = _read_folder(CORPORA[name], data_uri)
    clips = without_doubles(clips, lambda clip: clip.recording, "the same recording")
    require_emotions(clips, data_uri)
    return clips


def without_doubles(
    clips: Iterable[CorpusClip], key: Callable[[CorpusClip], str | None], what: str
) -> list[CorpusClip]:
    """Sets aside what `find_doubles` finds. Clips whose key is None, or that are set aside already, stay as they are."""
    clips = list(clips)
    labelled = [
        Labelled(clip.file, clip.speaker, clip.emotion, None if clip.reject_reason else key(clip)) for clip in clips
    ]
    for index, (reason, detail) in find_doubles(labelled, what).items():
        clips[index] = replace(clips[index], reject_reason=reason.value, reject_detail=detail)
    return clips


def require_emotions(clips: Iterable[CorpusClip], data_uri: str) -> None:
    """Raises UserError where the clips in use have fewer than two emotions, or spell one of them or a speaker in two ways: a
    speaker under two names could be learned from and scored on."""
    clips = list(clips)
    emotions = {clip.emotion for clip in clips if clip.reject_reason is None}
    if len(emotions) < 2:
        causes = sorted(
            {f"{clip.file}: {clip.reject_reason}, {clip.reject_detail}" for clip in clips if clip.reject_reason}
        )
        causes = "; ".join(causes[:2]) or "all clips have the same label"
        found = f"{len(emotions)} emotions in the clips that can be used" if emotions else "no clip can be used"
        raise UserError(f"{data_uri}: {found}, a probe needs two ({causes})")
    used = [clip for clip in clips if clip.reject_reason is None]
    require_one_spelling((clip.emotion for clip in used if clip.emotion), "emotion", data_uri)
    require_one_spelling((clip.speaker for clip in used if clip.speaker), "speaker", data_uri)


def _read_folder(corpus: Corpus, data_uri: str) -> list[CorpusClip]:
    if storage.exists(data_uri) and not storage.is_folder(data_uri):
        raise UserError(f"{data_uri} is a file; give the folder that holds {corpus.expects}")
    files = list_media(data_uri, MEDIA_SUFFIXES)
    clips = [_named(corpus, file.uri, file.uri.removeprefix(data_uri).lstrip("/")) for file in files]
    if all(clip.reject_reason == RejectReason.UNKNOWN_NAME for clip in clips):
        found = f"none of {len(clips)} media files has such a name" if clips else "there is no media file"
        raise UserError(f"{data_uri}: {found}; expected below it: {corpus.expects}")
    return clips


def _named(corpus: Corpus, uri: str, file: str) -> CorpusClip:
    try:
        said = corpus.clip(file)
    except NameProblem as problem:
        return CorpusClip(file=file, uri=uri, reject_reason=problem.reason.value, reject_detail=problem.detail)
    return CorpusClip(
        file=file, uri=uri, speaker=said.speaker, emotion=said.emotion, recording=said.recording, note=said.note
    )
