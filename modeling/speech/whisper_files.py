"""The first layers of Whisper's encoder from any of the files in which its weights are published, and from our own.

Known forms: CTranslate2 (`model.bin`), OpenAI (`tiny.en.pt`), Hugging Face (`model.safetensors`), and the cut file that
`cut_file` writes. Weights are rounded to half precision, in which they were published first, so every form of one model
gives the same encoder.
"""

import io
import re
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from modeling.speech.ctranslate2_file import is_ctranslate2, read_ctranslate2
from modeling.speech.front_ends import WHISPER_SIZES, WhisperSize
from modeling.speech.whisper import WhisperEncoder
from modeling.state_dicts import is_safetensors, misfits, read_safetensors

FORMAT = "emovox.whisper.1"

_HUGGING_FACE = (
    (r"layers\.(\d+)\.self_attn\.q_proj\.", r"blocks.\1.attn.query."),
    (r"layers\.(\d+)\.self_attn\.k_proj\.", r"blocks.\1.attn.key."),
    (r"layers\.(\d+)\.self_attn\.v_proj\.", r"blocks.\1.attn.value."),
    (r"layers\.(\d+)\.self_attn\.out_proj\.", r"blocks.\1.attn.out."),
    (r"layers\.(\d+)\.self_attn_layer_norm\.", r"blocks.\1.attn_ln."),
    (r"layers\.(\d+)\.fc1\.", r"blocks.\1.mlp.0."),
    (r"layers\.(\d+)\.fc2\.", r"blocks.\1.mlp.2."),
    (r"layers\.(\d+)\.final_layer_norm\.", r"blocks.\1.mlp_ln."),
)
_CTRANSLATE2 = (
    (r"layer_(\d+)/self_attention/layer_norm/", r"blocks.\1.attn_ln."),
    (r"layer_(\d+)/self_attention/linear_0/", r"blocks.\1.attn.qkv."),
    (r"layer_(\d+)/self_attention/linear_1/", r"blocks.\1.attn.out."),
    (r"layer_(\d+)/ffn/layer_norm/", r"blocks.\1.mlp_ln."),
    (r"layer_(\d+)/ffn/linear_0/", r"blocks.\1.mlp.0."),
    (r"layer_(\d+)/ffn/linear_1/", r"blocks.\1.mlp.2."),
    (r"(conv\d)/", r"\1."),
    (r"\bgamma$", "weight"),
    (r"\bbeta$", "bias"),
)


def read_encoder(data: bytes, name: str, layers: int) -> WhisperEncoder:
    """The first `layers` layers of the encoder of the model `name` (of `WHISPER_SIZES`), from a file's bytes.

    Raises ValueError that says what the file is instead, for the caller to name the file.
    """
    size = WHISPER_SIZES[name]
    if not 1 <= layers <= size.layers:
        raise ValueError(f"{layers} layers: the encoder of {name} has {size.layers}; choose 1 to {size.layers}")
    tensors = _encoder_tensors(data, size, layers)
    encoder = WhisperEncoder(size, layers)
    wanted = encoder.state_dict()
    given = {key: tensor for key, tensor in tensors.items() if key in wanted}  # layers above and the decoder are left
    if reason := misfits(wanted, given):
        raise ValueError(f"not the weights of Whisper {name}: {reason}")
    encoder.load_state_dict({key: tensor.half().float() for key, tensor in given.items()})
    return encoder


def cut_file(encoder: WhisperEncoder, name: str) -> bytes:
    """The encoder in half precision as a safetensors file, which `read_encoder` reads."""
    tensors = {key: tensor.cpu().half().contiguous() for key, tensor in encoder.state_dict().items()}
    return safetensors.torch.save(tensors, {"format": FORMAT, "model": name, "layers": str(len(encoder.blocks))})


def _encoder_tensors(data: bytes, size: WhisperSize, layers: int) -> dict[str, Tensor]:
    """By openai-whisper's names."""
    if is_ctranslate2(data):
        return _split(_renamed(_floats(read_ctranslate2(data), layers), "encoder/", _CTRANSLATE2), size)
    if is_safetensors(data):
        tensors, header = read_safetensors(data)
        if header.get("format") == FORMAT:
            return tensors
        return _renamed(tensors, "model.encoder.", _HUGGING_FACE) or _renamed(tensors, "encoder.", _HUGGING_FACE)
    return _renamed(_openai(data), "encoder.", ())


def _renamed(tensors: Mapping[str, Tensor], prefix: str, patterns: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    """Those whose name has the prefix, without it and by the patterns."""
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            for pattern, replacement in patterns:
                name = re.sub(pattern, replacement, name)
            named[name] = tensor
    return named


def _floats(tensors: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Raises ValueError where weights of the layers are quantised."""
    wanted = re.compile(r"encoder/(conv\d|layer_(\d+))/.*weight$")
    for name, tensor in tensors.items():
        found = wanted.fullmatch(name)
        if found and int(found[2] or 0) < layers and not tensor.is_floating_point():
            raise ValueError(f"its weights are quantised ({name} is {tensor.dtype}); give the float16 file")
    return tensors


def _split(tensors: dict[str, Tensor], size: WhisperSize) -> dict[str, Tensor]:
    """Query, key and value, which CTranslate2 stacks into one matrix; the bias of the keys is zero there."""
    split: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if ".qkv." not in name:
            split[name] = tensor
            continue
        if len(tensor) != 3 * size.width:
            raise ValueError(f"{name} has {len(tensor)} rows instead of {3 * size.width}; it is of another size")
        parts = dict(zip(("query", "key", "value"), tensor.chunk(3), strict=True))
        split |= {
            name.replace("qkv", part): rows for part, rows in parts.items() if name.endswith("weight") or part != "key"
        }
    return split


def _openai(data: bytes) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        tensors = content["model_state_dict"]
        return {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
    except Exception as error:  # reading foreign bytes fails in every way there is
        raise ValueError(
            "neither a Whisper of CTranslate2 (model.bin) nor of OpenAI (.pt) nor of Hugging Face (model.safetensors), "
            f"or cut short ({type(error).__name__})"
        ) from error
