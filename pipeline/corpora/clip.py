"""One clip of a labelled corpus, as its reader returns it."""

from dataclasses import dataclass

from pipeline.rejects import RejectReason


@dataclass(frozen=True, kw_only=True)
class CorpusClip:
    """file: path relative to the corpus; uri: full location; emotion: the corpus's own name for it.

    recording: an id that the files of one recording (its video and its extracted sound) share; note: a harmless
    irregularity. A clip with a `reject_reason` is not used, and its other fields may be None.
    """

    file: str
    uri: str
    speaker: str | None = None
    emotion: str | None = None
    recording: str | None = None
    note: str | None = None
    reject_reason: str | None = None
    reject_detail: str | None = None


@dataclass(frozen=True, kw_only=True)
class ClipName:
    """What a path says about its clip; see `CorpusClip`."""

    speaker: str
    emotion: str
    recording: str
    note: str | None = None


class NameProblem(Exception):
    """Raised by a layout for a file that it rejects."""

    def __init__(self, reason: RejectReason, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


SIX_EMOTIONS = {
    "an": "anger",
    "di": "disgust",
    "fe": "fear",
    "ha": "happiness",
    "sa": "sadness",
    "su": "surprise",
}
"""Codes that RML and eNTERFACE'05 share (mcnDatasets getRmlImdb.m, getEnterfaceImdb.m)."""
