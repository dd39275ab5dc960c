"""One clip of a labelled corpus, and why it can be set aside before its sound is read."""

from dataclasses import dataclass
from enum import StrEnum


class CorpusReject(StrEnum):
    """What labels and names give cause for; causes in the sound itself are a `RejectReason`."""

    UNKNOWN_NAME = "unknown_name"
    NOT_SPEECH = "not_speech"
    NO_LABEL = "no_label"
    DAMAGED_ROW = "damaged_row"
    DUPLICATE = "duplicate"
    CONTRADICTORY_LABELS = "contradictory_labels"
    TOO_LONG = "too_long"
    NOT_FINITE = "not_finite"


CORPUS_EXPLANATIONS = {
    CorpusReject.UNKNOWN_NAME: "the path does not follow the corpus's way of naming, so its label is not known",
    CorpusReject.NOT_SPEECH: "the corpus marks the recording as song, or as video without sound",
    CorpusReject.NO_LABEL: "its file, speaker or emotion is empty",
    CorpusReject.DAMAGED_ROW: "the row has more or fewer fields than the header of the CSV",
    CorpusReject.DUPLICATE: "the same recording is there already, by name or sample for sample; it counts once",
    CorpusReject.CONTRADICTORY_LABELS: "the same recording is there with another speaker or emotion, so neither is used",
    CorpusReject.TOO_LONG: "the clip is longer than ten minutes, far more than one utterance",
    CorpusReject.NOT_FINITE: "a feature of the clip is NaN or infinite",
}


@dataclass(frozen=True, kw_only=True)
class CorpusClip:
    """file: as listed, relative to the corpus; uri: where it is; emotion: as the corpus names it.

    recording: what two files of one recording (its video and its extracted sound) have in common; note: an irregularity
    that changes nothing. A clip with a `reject_reason` is set aside; its other fields may be None.
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
    """What a path says of its clip; see `CorpusClip`."""

    speaker: str
    emotion: str
    recording: str
    note: str | None = None


class NameProblem(Exception):
    """Raised by a layout for a file that it sets aside."""

    def __init__(self, reason: CorpusReject, detail: str):
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
