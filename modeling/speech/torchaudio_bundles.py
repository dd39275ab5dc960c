"""What torchaudio tells of its self-supervised networks under private names only; written for torchaudio 2.11.

Whoever upgrades torchaudio looks here.
"""

from typing import Any

from torchaudio import pipelines
from torchaudio.models import Wav2Vec2Model, wav2vec2_model, wavlm_model
from torchaudio.pipelines import Wav2Vec2Bundle

FRONT_ENDS: dict[str, Wav2Vec2Bundle] = {
    name: getattr(pipelines, name)
    for name in (
        "WAV2VEC2_BASE",
        "WAV2VEC2_LARGE",
        "HUBERT_BASE",
        "HUBERT_LARGE",
        "WAVLM_BASE",
        "WAVLM_BASE_PLUS",
        "WAVLM_LARGE",
    )
}
"""By torchaudio's name. All take 16 kHz and give one frame each 20 ms."""

WEIGHTS_URL = "https://download.pytorch.org/torchaudio/models/"  # torchaudio/pipelines/_wav2vec2/utils.py


def front_end_network(bundle: Wav2Vec2Bundle) -> Wav2Vec2Model:
    """The bundle's network with random weights; `bundle.get_model` would fetch them from the internet."""
    build = wavlm_model if is_wavlm(bundle) else wav2vec2_model
    return build(**parameters(bundle))


def parameters(bundle: Wav2Vec2Bundle) -> dict[str, Any]:
    """Of its network, such as encoder_num_layers and encoder_embed_dim."""
    return bundle._params  # pyright: ignore[reportPrivateUsage]


def is_wavlm(bundle: Wav2Vec2Bundle) -> bool:
    """Whether it is a WavLM and not a wav2vec 2.0 or HuBERT."""
    return bundle._model_type == "WavLM"  # pyright: ignore[reportPrivateUsage]


def normalises_waveform(bundle: Wav2Vec2Bundle) -> bool:
    """Whether it was trained on clips with mean 0 and deviation 1."""
    return bundle._normalize_waveform  # pyright: ignore[reportPrivateUsage]


def weights_url(bundle: Wav2Vec2Bundle) -> str:
    """Where torchaudio publishes its weights."""
    return f"{WEIGHTS_URL}{bundle._path}"  # pyright: ignore[reportPrivateUsage]
