"""The speech of the transfer benchmark; every clip is kept in memory as FLAC."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cluster.failures import UserError
from cluster.progress import progress
from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.corpora.doubles import Labelled, find_doubles
from pipeline.corpora.ferplus_csv import SpeechFile
from pipeline.media.flac import encode_flac
from pipeline.media.source_files import SourceFiles
from pipeline.media.speech import STUDIO_SILENCE_DB, read_speech, require_speech
from pipeline.rejects import Rejected

READ_THREADS = 4


@dataclass(frozen=True)
class SpeechClip:
    """A file's sound as 16 kHz mono FLAC; or, without samples, why it could not be read (reject_reason, reject_detail)."""

    file: SpeechFile
    speech_flac: bytes | None
    samples: int
    reject_reason: str | None = None
    reject_detail: str | None = None

    @property
    def seconds(self) -> float:
        return self.samples / SAMPLE_RATE_HZ


def read_speech_clips(files: list[SpeechFile]) -> list[SpeechClip]:
    """Decodes every file once, in the given order; takes about 20 kB of memory per second of speech.

    A file that cannot be read becomes a clip with a reject reason. So does a file with exactly the samples of an earlier one;
    if the two differ in speaker or emotion, both do. Raises UserError if no usable clip is left.
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
    """Rejects duplicates: a recording under two names would count twice; under two speakers, it could be both learned from
    and scored on."""
    clips = list(clips)
    labelled = [
        Labelled(clip.file.utterance_id, clip.file.speaker_id, clip.file.truth, clip.speech_flac) for clip in clips
    ]
    for index, (reason, detail) in find_doubles(labelled, "sample for sample the same sound").items():
        clips[index] = SpeechClip(clips[index].file, None, 0, reason.value, detail)
    return clips


def _read(file: SpeechFile) -> SpeechClip:
    try:
        with SourceFiles() as sources:
            samples_T = read_speech(sources.path(file.audio_uri), 0.0, None)
        require_speech(samples_T, STUDIO_SILENCE_DB)
    except Rejected as problem:
        return SpeechClip(file, None, 0, problem.reason.value, problem.detail)
    return SpeechClip(file, encode_flac(samples_T), len(samples_T))
