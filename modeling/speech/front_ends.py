"""The pretrained networks that a student can stand on, by name. Nothing is loaded here."""

from dataclasses import dataclass

SSL_FRONT_ENDS = (
    "WAV2VEC2_BASE",
    "WAV2VEC2_LARGE",
    "HUBERT_BASE",
    "HUBERT_LARGE",
    "WAVLM_BASE",
    "WAVLM_BASE_PLUS",
    "WAVLM_LARGE",
)
"""torchaudio's names of self-supervised networks."""

HEAD_CHANNELS = 64


@dataclass(frozen=True)
class WhisperSize:
    """width: channels; layers: of the whole encoder; bands: of the mel spectrogram."""

    width: int
    layers: int
    bands: int = 80

    @property
    def heads(self) -> int:
        return self.width // HEAD_CHANNELS


_SIZES = {
    "tiny": WhisperSize(384, 4),
    "base": WhisperSize(512, 6),
    "small": WhisperSize(768, 12),
    "medium": WhisperSize(1024, 24),
}
WHISPER_SIZES: dict[str, WhisperSize] = {
    **{f"{name}{ending}": size for name, size in _SIZES.items() for ending in ("", ".en")},
    "large-v1": WhisperSize(1280, 32),
    "large-v2": WhisperSize(1280, 32),
    "large-v3": WhisperSize(1280, 32, bands=128),
    "large-v3-turbo": WhisperSize(1280, 32, bands=128),
}
"""By the names that openai-whisper gives its models."""
