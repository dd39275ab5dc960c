"""What a decoder process can be asked for, and what it answers."""

from dataclasses import dataclass

import numpy as np

from pipeline.media.frames import FrameRequest, SampledFrames


@dataclass(frozen=True, kw_only=True)
class DecodeRequest(FrameRequest):
    """The frames and the sound of one span. `speech` False leaves the sound out. Answered by `DecodedUtterance`."""

    video_path: str
    audio_path: str
    speech: bool = True


@dataclass(frozen=True)
class DecodedUtterance:
    """`speech`: int16 (n,) at 16 kHz, or None where it was not asked for. `decode_s`: seconds of work in the child."""

    frames: SampledFrames
    speech: np.ndarray | None
    decode_s: float


@dataclass(frozen=True, kw_only=True)
class SpeechRequest:
    """The sound of a span; int16 (n,), as `pipeline.media.speech.read_speech` gives it."""

    path: str
    start_s: float = 0.0
    end_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class NativeSpeechRequest:
    """Sound at the file's own rate; int16 (n,), as `pipeline.media.speech.read_at_native_rate` gives it."""

    path: str
    most_samples: int


@dataclass(frozen=True, kw_only=True)
class StreamRequest:
    """The sound of the whole file piece by piece, as `pipeline.media.speech.stream_speech` gives it."""

    path: str


@dataclass(frozen=True, kw_only=True)
class LengthRequest:
    """Seconds of a file as `pipeline.media.lengths` finds them, or None where that needs the file on this machine.

    remote_bytes: the file is not on this machine and has so many; the caller reads for the child what it asks for.
    """

    path: str
    remote_bytes: int | None = None


Request = DecodeRequest | SpeechRequest | NativeSpeechRequest | StreamRequest | LengthRequest
