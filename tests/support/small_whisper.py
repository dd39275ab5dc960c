"""A Whisper with random weights and the layers of the published ones, and its file in every form that is published."""

import io
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import safetensors.torch
import torch

from modeling.speech.front_ends import WHISPER_SIZES, WhisperSize
from modeling.speech.whisper import WhisperEncoder

NAME = "small"
SIZE = WhisperSize(width=128, layers=3)


@contextmanager
def small_size() -> Iterator[None]:
    """The model named "small" is this one."""
    with mock.patch.dict(WHISPER_SIZES, {NAME: SIZE}):
        yield


def encoder(layers: int = SIZE.layers, seed: int = 0) -> WhisperEncoder:
    """Weights that half precision holds exactly, so that every file gives them back."""
    torch.manual_seed(seed)
    network = WhisperEncoder(SIZE, SIZE.layers)
    for parameter in network.parameters():
        parameter.copy_((torch.randn(parameter.shape) * 0.05).half().float())
    network.blocks = network.blocks[:layers]
    return network


def openai_file(network: WhisperEncoder) -> bytes:
    state = {f"encoder.{name}": tensor.half() for name, tensor in network.state_dict().items()}
    state |= {"encoder.ln_post.weight": torch.ones(SIZE.width), "decoder.token_embedding.weight": torch.zeros(5, 3)}
    file = io.BytesIO()
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": state}, file)
    return file.getvalue()


_HUGGING_FACE = {
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "attn_ln": "self_attn_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
    "mlp_ln": "final_layer_norm",
}


def hugging_face_file(network: WhisperEncoder) -> bytes:
    named = {}
    for name, tensor in network.state_dict().items():
        for ours, theirs in _HUGGING_FACE.items():
            name = re.sub(rf"blocks\.(\d+)\.{re.escape(ours)}\.", rf"layers.\1.{theirs}.", name)
        named[f"model.encoder.{name}"] = tensor.clone()
    named["model.encoder.embed_positions.weight"] = torch.zeros(4, SIZE.width)
    return safetensors.torch.save(named, {"format": "pt"})


_CTRANSLATE2 = {
    "attn_ln": "self_attention/layer_norm",
    "attn.out": "self_attention/linear_1",
    "mlp_ln": "ffn/layer_norm",
    "mlp.0": "ffn/linear_0",
    "mlp.2": "ffn/linear_1",
}


def ctranslate2_tensors(network: WhisperEncoder) -> dict[str, np.ndarray]:
    """As CTranslate2's converter names and stacks them."""
    state = {name: tensor.numpy().astype(np.float16) for name, tensor in network.state_dict().items()}
    named = {
        f"encoder/{conv}/{kind}": state[f"{conv}.{kind}"] for conv in ("conv1", "conv2") for kind in ("weight", "bias")
    }
    for layer in range(len(network.blocks)):
        for ours, theirs in _CTRANSLATE2.items():
            norm = ours.endswith("ln")
            for kind, name in (("weight", "gamma" if norm else "weight"), ("bias", "beta" if norm else "bias")):
                named[f"encoder/layer_{layer}/{theirs}/{name}"] = state[f"blocks.{layer}.{ours}.{kind}"]
        own = f"blocks.{layer}.attn"
        stacked = np.concatenate([state[f"{own}.{part}.weight"] for part in ("query", "key", "value")])
        biases = [state[f"{own}.query.bias"], np.zeros(SIZE.width, np.float16), state[f"{own}.value.bias"]]
        named[f"encoder/layer_{layer}/self_attention/linear_0/weight"] = stacked
        named[f"encoder/layer_{layer}/self_attention/linear_0/bias"] = np.concatenate(biases)
    return named | {"encoder/num_heads": np.array(2, np.int16)}


def ctranslate2_file(tensors: dict[str, np.ndarray], version: int = 6, kind: str = "WhisperSpec") -> bytes:
    """As `ctranslate2/specs/model_spec.py` writes it."""
    types = {np.dtype(np.float32): 0, np.dtype(np.int8): 1, np.dtype(np.int16): 2, np.dtype(np.float16): 4}

    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    data = struct.pack("<I", version) + string(kind) + struct.pack("<II", 3, len(tensors))
    for name, array in tensors.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        data += string(name) + shape + struct.pack("<BI", types[array.dtype], array.nbytes) + array.tobytes()
    aliases = [("decoder/projection/weight", "decoder/embeddings/weight")]
    return data + struct.pack("<I", len(aliases)) + b"".join(string(text) for pair in aliases for text in pair)
