"""The self-supervised networks that can stand under a student: built as torchaudio builds them, weights from a file."""

import io
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
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
SHOWN_NAMES = 3


def front_end_network(bundle: Wav2Vec2Bundle) -> Wav2Vec2Model:
    """The bundle's network with random weights; `bundle.get_model` would fetch them from the internet."""
    build = {"Wav2Vec2": wav2vec2_model, "WavLM": wavlm_model}[bundle._model_type]
    return build(**bundle._params)


def load_front_end(network: Wav2Vec2Model, name: str, source: bytes | str | Path) -> None:
    """Puts the weights that torchaudio publishes for the bundle `name` into its network; source: the .pth or its bytes.

    Raises ValueError with all that is missing, unexpected or of another shape, and with the address of the right file.
    WAVLM_BASE and WAVLM_BASE_PLUS, or WAV2VEC2_BASE and HUBERT_BASE, have the same names and shapes: no check of the
    file can tell them apart.
    """
    wanted = f"fetch {WEIGHTS_URL}{FRONT_ENDS[name]._path}"
    try:
        tensors = _state_dict(source)
        _check(tensors, network.state_dict(), name)
    except ValueError as error:
        file = "the file of the front end" if isinstance(source, bytes) else source
        raise ValueError(f"{file}: {error}; {wanted}, or choose the bundle that the file is of") from error
    network.load_state_dict(tensors)


def _state_dict(source: bytes | str | Path) -> dict[str, Tensor]:
    """Names as torch has them now: a weight-normalised convolution kept weight_g and weight_v before torch 2.1."""
    file = io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")  # noqa: SIM115 (closed below)
    with file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # reading foreign bytes fails in every way there is
            raise ValueError(
                f"no PyTorch state dict, or it holds more than tensors ({type(error).__name__})"
            ) from error
    if not isinstance(content, Mapping) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        held = f"keys {list(content)[:SHOWN_NAMES]}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
        raise ValueError(f"it holds no state dict but {held} (fairseq and Microsoft wrap theirs)")
    weight = "conv.parametrizations.weight.original"
    return {
        name.replace("conv.weight_g", f"{weight}0").replace("conv.weight_v", f"{weight}1"): tensor
        for name, tensor in content.items()
    }


def _check(given: dict[str, Tensor], expected: dict[str, Tensor], bundle: str) -> None:
    if any("feature_projection." in name and not name.startswith("encoder.") for name in given):
        raise ValueError("a HuggingFace checkpoint, whose weights have other names than torchaudio's")
    faults = {
        "missing": [name for name in expected if name not in given],
        "unexpected": [name for name in given if name not in expected],
        "of another shape": [
            f"{name} {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in given and given[name].shape != tensor.shape
        ],
        "with NaN or infinity": [name for name, tensor in given.items() if not torch.isfinite(tensor).all()],
    }
    told = [
        f"{len(names)} {fault} ({', '.join(names[:SHOWN_NAMES])}{', ...' if len(names) > SHOWN_NAMES else ''})"
        for fault, names in faults.items()
        if names
    ]
    if told:
        alike = [name for name, other in FRONT_ENDS.items() if _build_of_bundle(other) == _build_of_tensors(given)]
        looks = f"; it looks like {' or '.join(alike)}" if alike and bundle not in alike else ""
        raise ValueError(f"not the weights of {bundle}: {'; '.join(told)}{looks}")


def _build_of_bundle(bundle: Wav2Vec2Bundle) -> tuple[int, int, bool, bool]:
    """Layers, width, whether attention knows relative positions, whether every convolution is normalised."""
    p = bundle._params
    is_normalised = p["extractor_mode"] == "layer_norm"
    return p["encoder_num_layers"], p["encoder_embed_dim"], bundle._model_type == "WavLM", is_normalised


def _build_of_tensors(tensors: dict[str, Tensor]) -> tuple[int, int, bool, bool]:
    """The same, read off the names and shapes of a state dict."""
    layers = {name.split(".")[3] for name in tensors if name.startswith("encoder.transformer.layers.")}
    width = len(tensors.get("encoder.feature_projection.projection.bias", ()))
    has_positions = any("rel_attn_embed" in name for name in tensors)
    return len(layers), width, has_positions, "feature_extractor.conv_layers.1.layer_norm.weight" in tensors
