"""The published weights of the self-supervised networks that can stand under a student, from a file."""

from pathlib import Path

from torch import Tensor
from torchaudio.models import Wav2Vec2Model
from torchaudio.pipelines import Wav2Vec2Bundle

from modeling.speech.torchaudio_bundles import FRONT_ENDS, is_wavlm, parameters, weights_url
from modeling.state_dicts import misfits, read_state_dict


def load_front_end(network: Wav2Vec2Model, name: str, source: bytes | str | Path) -> None:
    """Puts the weights that torchaudio publishes for the bundle `name` into its network; source: the .pth or its bytes.

    Raises ValueError with all that is missing, unexpected or of another shape, and with the address of the right file.
    WAVLM_BASE and WAVLM_BASE_PLUS, or WAV2VEC2_BASE and HUBERT_BASE, have the same names and shapes: no check of the
    file can tell them apart.
    """
    wanted = f"fetch {weights_url(FRONT_ENDS[name])}"
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
    """Names as torch has them now: a weight-normalised convolution kept weight_g and weight_v before torch 2.1."""
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


def _build_of_bundle(bundle: Wav2Vec2Bundle) -> tuple[int, int, bool, bool]:
    """Layers, width, whether attention knows relative positions, whether every convolution is normalised."""
    p = parameters(bundle)
    is_normalised = p["extractor_mode"] == "layer_norm"
    return p["encoder_num_layers"], p["encoder_embed_dim"], is_wavlm(bundle), is_normalised


def _build_of_tensors(tensors: dict[str, Tensor]) -> tuple[int, int, bool, bool]:
    """The same, read off the names and shapes of a state dict."""
    layers = {name.split(".")[3] for name in tensors if name.startswith("encoder.transformer.layers.")}
    width = len(tensors.get("encoder.feature_projection.projection.bias", ()))
    has_positions = any("rel_attn_embed" in name for name in tensors)
    return len(layers), width, has_positions, "feature_extractor.conv_layers.1.layer_norm.weight" in tensors
