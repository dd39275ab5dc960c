"""From the sound of one clip to its features: the student's, and those it is compared with.

Shape letters: T samples, F features of a set, E = 8 emotions, D embedding.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from torchaudio.transforms import MelSpectrogram

from cluster import storage
from cluster.failures import UserError
from modeling.sampling import FRAME_SAMPLES, HOP_SAMPLES, INT16_SCALE, SAMPLE_RATE_HZ
from modeling.speech.spectrogram import FFT_SAMPLES, MEL_BANDS, MEL_RANGE_HZ, POWER_FLOOR
from modeling.students.build import Student
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.decoding.requests import NativeSpeechRequest, SpeechRequest
from pipeline.media.source_files import SourceFiles
from pipeline.media.speech import STUDIO_SILENCE_DB, mean_level_db
from pipeline.rejects import Rejected, RejectReason

LEAST_S = 0.06
"""The longest analysis window of eGeMAPS (its pitch, 60 ms); opensmile gives NaN for less. The student pads with zeros
what is shorter than 1.015 s."""

MOST_S = 600.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is wanted of each clip. as_published: the student hears the sound at the file's own rate as if it were 16 kHz (the
    authors' omission); the baselines do not. baselines: also the features that are not the student's, for which openSMILE is
    needed. keep_speech: also what the student heard."""

    as_published: bool = False
    baselines: bool = True
    keep_speech: bool = False


@dataclass(frozen=True, kw_only=True)
class ClipAnswer:
    """features: set -> (F,); sound_sha256: of its sound at 16 kHz; heard_T: what the student heard, int16, if that is wanted.
    Of a clip that cannot be used: the reason, and the trace of an error that nobody foresaw."""

    features: dict[str, np.ndarray] = field(default_factory=dict)
    sound_sha256: str | None = None
    heard_T: np.ndarray | None = None
    reject_reason: str | None = None
    reject_detail: str | None = None
    trace: str | None = None


class ClipReader:
    """Callable: a clip's URI -> its answer. The sound is decoded in a child process."""

    def __init__(self, student: Student, device: str, wanted: Wanted):
        self.extract = ClipFeatures(student, device, wanted.baselines)
        self.wanted = wanted
        self.decoder = IsolatedDecoder()
        self.decoder.start()

    def __call__(self, uri: str) -> ClipAnswer:
        digest = None
        try:
            speech_T, heard_T = _sound(self.decoder, uri, self.wanted.as_published)
            digest = storage.sha256(speech_T.tobytes())
            features = _finite(self.extract(speech_T, heard_T))
        except Rejected as problem:
            return ClipAnswer(
                sound_sha256=digest,
                reject_reason=str(problem.reason.value),
                reject_detail=problem.detail,
                trace=problem.trace,
            )
        return ClipAnswer(features=features, sound_sha256=digest, heard_T=heard_T if self.wanted.keep_speech else None)

    def close(self) -> None:
        self.decoder.close()


class ClipFeatures:
    """Callable: the sound of one clip -> its features by set, each a vector.

    logits (8), embedding (D): the student's on the whole clip. egemaps (88): functionals of eGeMAPSv02 by openSMILE.
    mean_log_mel (128): mean and deviation over time of 64 log mel bands in dB, loudness and microphone included.
    """

    def __init__(self, student: Student, device: str, baselines: bool = True):
        """baselines: also the features that are not the student's; without them openSMILE is not needed."""
        self.student, self.device = student.to(device).eval(), device
        self.smile = _smile() if baselines else None
        self.mel = MelSpectrogram(
            SAMPLE_RATE_HZ,
            FFT_SAMPLES,
            FRAME_SAMPLES,
            HOP_SAMPLES,
            *MEL_RANGE_HZ,
            n_mels=MEL_BANDS,
        )

    def __call__(self, speech_T: np.ndarray, heard_T: np.ndarray) -> dict[str, np.ndarray]:
        """speech_T: int16 at 16 kHz, for the baselines; heard_T: what the student is given, mostly the same."""
        logits_E, embedding_D = self.student.outputs_of_clip(torch.from_numpy(heard_T).to(self.device))
        of_student = {"logits": logits_E.cpu().numpy(), "embedding": embedding_D.cpu().numpy()}
        if self.smile is None:
            return of_student
        signal_T = speech_T.astype(np.float32) / INT16_SCALE
        log_mel_FL = 10 * torch.log10(self.mel(torch.from_numpy(signal_T)).clamp_min(POWER_FLOOR))
        return of_student | {
            "egemaps": self.smile.process_signal(signal_T, SAMPLE_RATE_HZ).to_numpy()[0],
            "mean_log_mel": torch.cat([log_mel_FL.mean(1), log_mel_FL.std(1, correction=0)]).numpy(),
        }


def _smile():
    try:
        import opensmile
    except ImportError as error:
        raise UserError(
            "the eGeMAPS baseline needs openSMILE: pip install 'emovox[egemaps]' (its licence: research only)"
        ) from error
    return opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)


def _sound(decoder: IsolatedDecoder, uri: str, as_published: bool) -> tuple[np.ndarray, np.ndarray]:
    """Speech at 16 kHz, and what the student hears. Raises Rejected for what cannot be used."""
    with SourceFiles() as files:
        path = files.path(uri)
        speech_T = decoder.ask(SpeechRequest(path=path, end_s=MOST_S + 1))
        seconds = len(speech_T) / SAMPLE_RATE_HZ
        if seconds < LEAST_S:
            raise Rejected(RejectReason.TOO_SHORT, f"{seconds:.3f} s of sound; the least is {LEAST_S:g} s")
        if seconds > MOST_S:
            raise Rejected(RejectReason.TOO_LONG, f"more than {MOST_S:g} s; cut it into utterances")
        if (level_db := mean_level_db(speech_T)) < STUDIO_SILENCE_DB:
            raise Rejected(RejectReason.SILENT, f"mean level {level_db:.1f} dB; the least is {STUDIO_SILENCE_DB:g} dB")
        heard_T = speech_T
        if as_published:
            heard_T = decoder.ask(NativeSpeechRequest(path=path, most_samples=round(MOST_S * SAMPLE_RATE_HZ)))
        return speech_T, heard_T


def _finite(features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if broken := [name for name, values_F in features.items() if not np.isfinite(values_F).all()]:
        raise Rejected(RejectReason.NOT_FINITE, f"NaN or infinity in {', '.join(broken)}")
    return features
