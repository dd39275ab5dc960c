"""Why an utterance or a clip of a corpus can be set aside. A reject is a row of a table, not an error."""

import contextlib
import traceback
from collections.abc import Generator, Iterable
from enum import StrEnum

from cluster.failures import UserError


class RejectReason(StrEnum):
    """One value a cause; a row or clip gets the cause that is met first.

    Whoever reads or decodes the file, or looks for its face, raises `Rejected`; `FaceCropper._cropped`
    (pipeline/labelling/cropper.py) makes the row of it, in the order decoding, sound, face. `WORKER_DIED` is given by the
    cropper's `_died`, and `TEACHER_NOT_FINITE` after it, by `TeacherLabeller` (pipeline/labelling/labeller.py). The values
    stand in about that order. A new value needs an explanation below and a row in docs/distillation_set.md, or in
    docs/students.md if only a corpus has it.
    """

    # labelling: the file
    FILE_NOT_FOUND = "file_not_found"
    STORAGE_ERROR = "storage_error"
    EMPTY_FILE = "empty_file"
    TRUNCATED = "truncated"
    NOT_A_VIDEO = "not_a_video"
    NO_VIDEO_STREAM = "no_video_stream"
    UNSUPPORTED_CODEC = "unsupported_codec"
    # labelling: decoding
    DECODER_CRASHED = "decoder_crashed"
    DECODER_TIMEOUT = "decoder_timeout"
    DECODER_OUT_OF_MEMORY = "decoder_out_of_memory"
    BEYOND_LIMITS = "beyond_limits"
    NO_FRAMES = "no_frames"
    DAMAGED_VIDEO = "damaged_video"
    # labelling: the sound
    NO_AUDIO_STREAM = "no_audio_stream"
    DAMAGED_AUDIO = "damaged_audio"
    TOO_SHORT = "too_short"
    SILENT = "silent"
    # labelling: the face
    NO_FACE = "no_face"
    FACE_AFTER_SPEECH = "face_after_speech"
    TEACHER_NOT_FINITE = "teacher_not_finite"
    # labelling: whatever the worker was doing
    WORKER_DIED = "worker_died"
    # published labels (`import-labels`): WavReader (pipeline/importing/wav_reader.py), before and behind the sound
    NO_WAV = "no_wav"
    AMBIGUOUS_NAME = "ambiguous_name"
    NO_LOGITS = "no_logits"
    LENGTHS_DIFFER = "lengths_differ"
    # clips of a corpus (`probe`, `fit-head`, `transfer-benchmark`)
    UNKNOWN_NAME = "unknown_name"
    NOT_SPEECH = "not_speech"
    NO_LABEL = "no_label"
    DAMAGED_ROW = "damaged_row"
    DUPLICATE = "duplicate"
    CONTRADICTORY_LABELS = "contradictory_labels"
    TOO_LONG = "too_long"
    NOT_FINITE = "not_finite"


EXPLANATIONS = {
    RejectReason.FILE_NOT_FOUND: "the video, its frame folder or its audio file is not where the manifest says",
    RejectReason.STORAGE_ERROR: "the storage did not deliver the file after retries",
    RejectReason.EMPTY_FILE: "the file has no bytes",
    RejectReason.TRUNCATED: "the file begins as a video but its end (with the index) is missing",
    RejectReason.NOT_A_VIDEO: "the file is not in any container format that the decoder knows",
    RejectReason.NO_VIDEO_STREAM: "the file holds no video stream",
    RejectReason.UNSUPPORTED_CODEC: "no decoder for this video codec is built in",
    RejectReason.DECODER_CRASHED: "the decoder process died on this file",
    RejectReason.DECODER_TIMEOUT: "the decoder did not finish within the deadline",
    RejectReason.DECODER_OUT_OF_MEMORY: "the decoded utterance, or the decoder on this file, takes more memory than is allowed",
    RejectReason.BEYOND_LIMITS: "the file claims more pixels, streams, channels or seconds than any honest one has",
    RejectReason.NO_FRAMES: "no frame lies in the utterance's time span",
    RejectReason.DAMAGED_VIDEO: "the video stream cannot be decoded in the utterance's time span",
    RejectReason.NO_AUDIO_STREAM: "the file holds no audio stream, so there is no speech to learn from",
    RejectReason.DAMAGED_AUDIO: "the audio stream cannot be decoded in the utterance's time span",
    RejectReason.TOO_SHORT: "the utterance is shorter than one second, the least the method supports",
    RejectReason.SILENT: "the mean level of the sound is below -60 dB",
    RejectReason.NO_FACE: "no face was found in any sampled frame",
    RejectReason.FACE_AFTER_SPEECH: "the sound ends before the face appears, so that no training window holds both",
    RejectReason.TEACHER_NOT_FINITE: "the teacher gave NaN or infinity for a face",
    RejectReason.WORKER_DIED: "the worker process died again and again while it worked on this utterance",
    RejectReason.NO_WAV: "the published logits name a wav that is not in the folder",
    RejectReason.AMBIGUOUS_NAME: "several wavs, or several entries of the published logits, bear this name",
    RejectReason.NO_LOGITS: "no published logits: the wav's entry is empty, or it has none",
    RejectReason.LENGTHS_DIFFER: "the published logits and the wav differ in length by more than a second",
    RejectReason.UNKNOWN_NAME: "the path does not follow the corpus's way of naming, so its label is not known",
    RejectReason.NOT_SPEECH: "the corpus marks the recording as song, or as video without sound",
    RejectReason.NO_LABEL: "its file, speaker or emotion is empty",
    RejectReason.DAMAGED_ROW: "the row has more or fewer fields than the header of the CSV",
    RejectReason.DUPLICATE: "the same recording is there already, by name or sample for sample; it counts once",
    RejectReason.CONTRADICTORY_LABELS: "the same recording is there with another speaker or emotion, so neither is used",
    RejectReason.TOO_LONG: "the clip is longer than ten minutes, far more than one utterance",
    RejectReason.NOT_FINITE: "a feature of the clip is NaN or infinite",
}


class Rejected(Exception):
    """Raised where a cause is found; the labelling turns it into the row's `reject_reason` and `reject_detail`."""

    def __init__(self, reason: RejectReason, detail: str):
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    @property
    def trace(self) -> str | None:
        """The traceback of an error that nobody foresaw, for the log; None for any other cause."""
        return "\n".join(getattr(self, "__notes__", [])) or None

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


UNFORESEEN = "unforeseen "
"""How the detail begins of a reject whose cause nobody had thought of: an error of ours or of a library."""

SUSPECT_SHARE = 0.05
SUSPECT_COUNT = 3
"""Where at least so many files, and a larger share of all, end so, it is probably not the files."""


@contextlib.contextmanager
def blaming(reason: RejectReason, but: tuple[type[Exception], ...] = ()) -> Generator[None]:
    """While a file is read: an error that nobody foresaw is that file's. It becomes Rejected, with the error's name in its
    detail and the traceback as a note, for the log.

    What says nothing about the file passes: what the user can mend, a storage that is away, memory that is gone, and `but`.
    """
    try:
        yield
    except (Rejected, UserError, MemoryError, *but):
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is, it is the file's)
        said = " ".join(str(error).split())[:200]
        rejected = Rejected(reason, f"{UNFORESEEN}{type(error).__name__}{f': {said}' if said else ''}")
        rejected.add_note("".join(traceback.format_exception(error)))
        raise rejected from None


def count_unforeseen(details: Iterable[str | None]) -> int:
    return sum(detail.startswith(UNFORESEEN) for detail in details if detail)


def suspicion(unforeseen: int, of_all: int) -> str | None:
    """What to tell a user whose run met errors that nobody foresaw; None where it met none."""
    if not unforeseen:
        return None
    told = f"{unforeseen} of {of_all} ended with an error that emovox did not foresee (reject_detail begins with {UNFORESEEN!r})"
    if unforeseen >= SUSPECT_COUNT and unforeseen > SUSPECT_SHARE * of_all:
        return f"{told}: that is probably not the files but emovox; the tracebacks are in the log, please report them"
    return told
