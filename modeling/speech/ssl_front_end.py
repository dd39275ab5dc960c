"""The self-supervised networks that can be a student's front end: built as torchaudio builds them, with weights from a file.

A bundle's architecture and the address of its weights are private fields of torchaudio 2.11 (`_model_type`, `_params`,
`_path`, `_normalize_waveform`): its public `get_model` downloads the weights. No other file reads these fields, which
`tests/test_private_names.py` holds. Without them, each bundle's architecture would have to be written out here.
"""

from pathlib import Path
from typing import Any

from torch import Tensor
from torchaudio import pipelines
from torchaudio.models import Wav2Vec2Model, wav2vec2_model, wavlm_model
from torchaudio.pipelines import Wav2Vec2Bundle

from modeling.speech.front_ends import SSL_FRONT_ENDS
from modeling.state_dicts import misfits, read_state_dict

FRONT_ENDS: dict[str, Wav2Vec2Bundle] = {name: getattr(pipelines, name) for name in SSL_FRONT_ENDS}
"""Keyed by torchaudio's name. All take 16 kHz and give a frame every 20 ms."""

WEIGHTS_URL = "https://download.pytorch.org/torchaudio/models/"  # torchaudio/pipelines/_wav2vec2/utils.py


def front_end_url(name: str) -> str:
    """The address of the weights that torchaudio publishes for the bundle `name`."""
    return WEIGHTS_URL + FRONT_ENDS[name]._path  # pyright: ignore[reportPrivateUsage]


def front_end_size(name: str) -> tuple[int, int]:
    """Number of layers of the bundle's network, and their width."""
    params = _params(FRONT_ENDS[name])
    return params["encoder_num_layers"], params["encoder_embed_dim"]


def wants_normalised_waveform(name: str) -> bool:
    """Whether the bundle's network takes waveforms with mean 0 and deviation 1 instead of waveforms in [-1, 1]."""
    return FRONT_ENDS[name]._normalize_waveform  # pyright: ignore[reportPrivateUsage]


def front_end_network(bundle: Wav2Vec2Bundle) -> Wav2Vec2Model:
    """The bundle's network with random weights; `bundle.get_model` would download the trained ones."""
    return (wavlm_model if _is_wavlm(bundle) else wav2vec2_model)(**_params(bundle))


def load_front_end(network: Wav2Vec2Model, name: str, source: bytes | str | Path) -> None:
    """Loads torchaudio's published weights of the bundle `name` into its network. source: the .pth file or its bytes.

    Raises a ValueError that lists what is missing, unexpected or of another shape, and gives the address of the right file.
    WAVLM_BASE and WAVLM_BASE_PLUS have the same names and shapes, as have WAV2VEC2_BASE and HUBERT_BASE: no check of the
    file can tell them apart.
    """
    wanted = f"fetch {front_end_url(name)}"
    try:
        tensors = _state_dict(source)
        _check(tensors, network.state_dict(), name)
    except ValueError as error:
        file = "the file of the front end" if isinstance(source, bytes) else source
        raise ValueError(
            f"{file}: {error}; {wanted}, or choose the bundle that the file is of "
            "(fairseq and Microsoft wrap their own)"
        ) from error
    network.load_state_dict(tensors)


def _state_dict(source: bytes | str | Path) -> dict[str, Tensor]:
    """The weights under torch's current names: before torch 2.1, a weight-normalised convolution had weight_g and weight_v."""
    weight = "conv.parametrizations.weight.original"
    return {
        name.replace("conv.weight_g", f"{weight}0").replace("conv.weight_v", f"{weight}1"): tensor
        for name, tensor in read_state_dict(source).items()
    }


def _check(given: dict[str, Tensor], expected: dict[str, Tensor], bundle: str) -> None:
    if any("feature_projection." in name and not name.startswith("encoder.") for name in given):
        raise ValueError("a HuggingFace checkpoint, whose weights have other names than torchaudio's")
    if reason := misfits(expected, given):
        alike = [name for name, other in FRONT_ENDS.items() if _build_of_bundle(other) == _build_of_tensors(given)]
        looks = f"; it looks like {' or '.join(alike)}" if alike and bundle not in alike else ""
        raise ValueError(f"not the weights of {bundle}: {reason}{looks}")


def _params(bundle: Wav2Vec2Bundle) -> dict[str, Any]:
    return bundle._params  # pyright: ignore[reportPrivateUsage]


def _is_wavlm(bundle: Wav2Vec2Bundle) -> bool:
    return bundle._model_type == "WavLM"  # pyright: ignore[reportPrivateUsage]


def _build_of_bundle(bundle: Wav2Vec2Bundle) -> tuple[int, int, bool, bool]:
    """Layers, width, whether attention uses relative positions, whether every convolution is normalised."""
    p = _params(bundle)
    is_normalised = p["extractor_mode"] == "layer_norm"
    return p["encoder_num_layers"], p["encoder_embed_dim"], _is_wavlm(bundle), is_normalised


def _build_of_tensors(tensors: dict[str, Tensor]) -> tuple[int, int, bool, bool]:
    """The same as `_build_of_bundle`, from the names and shapes of a state dict."""
    layers = {name.split(".")[3] for name in tensors if name.startswith("encoder.transformer.layers.")}
    width = len(tensors.get("encoder.feature_projection.projection.bias", ()))
    has_positions = any("rel_attn_embed" in name for name in tensors)
    return len(layers), width, has_positions, "feature_extractor.conv_layers.1.layer_norm.weight" in tensors
