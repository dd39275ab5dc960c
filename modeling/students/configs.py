"""What determines the architecture of a student of each kind. It is written into the student's file."""

from dataclasses import dataclass

from modeling.speech.front_ends import SSL_FRONT_ENDS, WHISPER_SIZES

STUDENT_KINDS = ("paper", "compact", "ssl")
TIME_POOLINGS = ("attention", "mean", "max")


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """kind: "paper" (VGG-M of VGGVox, 16.6 M weights), "compact" (log-mel, 0.5 M; two CPU cores can train it) or "ssl"
    (a head of 0.3 M on a frozen self-supervised network).

    widths: channels of the compact student's three stages; pooling (over time) and embedding (D): of the compact and the
    ssl student; bundle: torchaudio's name of an ssl student's front end (`SSL_FRONT_ENDS`). The paper's student
    has no choices.
    """

    kind: str = "compact"
    widths: tuple[int, ...] = (32, 64, 128)
    pooling: str = "attention"
    embedding: int = 256
    bundle: str = "WAVLM_BASE_PLUS"

    def __post_init__(self):
        if self.kind not in STUDENT_KINDS:
            raise ValueError(f"kind = {self.kind!r}: the students are {', '.join(map(repr, STUDENT_KINDS))}")
        if self.pooling not in TIME_POOLINGS:
            raise ValueError(f"pooling = {self.pooling!r}: choose one of {', '.join(TIME_POOLINGS)}")
        if self.kind == "ssl" and self.bundle not in SSL_FRONT_ENDS:
            raise ValueError(f"bundle = {self.bundle!r}: choose one of {', '.join(SSL_FRONT_ENDS)}")
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON gives a list


@dataclass(frozen=True, kw_only=True)
class WhisperConfig:
    """A linear head on the output of one layer of Whisper's encoder; 6,152 trained weights on tiny's.

    front_end: name of the model (`WHISPER_SIZES`); layers: of its encoder that are computed; window_s and hop_s: of the
    windows over which mean and deviation are taken.
    """

    kind: str = "whisper"
    front_end: str = "tiny.en"
    layers: int = 2
    window_s: float = 1.0
    hop_s: float = 0.5

    def __post_init__(self):
        if self.kind != "whisper":
            raise ValueError(f"kind = {self.kind!r}: this config is of the kind 'whisper'")
        if self.front_end not in WHISPER_SIZES:
            raise ValueError(f"front_end = {self.front_end!r}: choose one of {', '.join(WHISPER_SIZES)}")
        most = WHISPER_SIZES[self.front_end].layers
        if not 1 <= self.layers <= most:
            raise ValueError(f"layers = {self.layers}: the encoder of {self.front_end} has {most}; choose 1 to {most}")
        if not 0 < self.hop_s <= self.window_s <= 1:
            raise ValueError(
                f"window_s = {self.window_s}, hop_s = {self.hop_s}: a window of 1 s at most, and a hop within it"
            )
