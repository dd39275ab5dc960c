"""Weights from files of others: read without running anything in them, and compared with what a network wants."""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor

SHOWN_NAMES = 3


def read_state_dict(source: bytes | str | Path) -> dict[str, Tensor]:
    """The tensors by name in what `torch.save` wrote: a state dict, or {"state_dict": ...}, perhaps of DataParallel, whose
    "module." is taken off every name.

    Raises ValueError, for the caller to say which file it is and what to give, if it holds anything else.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        content = cast(object, torch.load(file, map_location="cpu", weights_only=True))
    except OSError:  # no such file
        raise
    except Exception as error:  # reading foreign bytes fails in every way there is
        raise ValueError(f"no PyTorch checkpoint, or holds more than tensors ({type(error).__name__})") from error
    if isinstance(content, Mapping) and "state_dict" in content:
        content = cast(Mapping[str, object], content)["state_dict"]
    if not isinstance(content, Mapping):
        raise ValueError(f"no state dict but a {type(content).__name__}; save network.state_dict()")
    tensors = cast(Mapping[object, object], content)
    named = {str(name).removeprefix("module."): t.detach() for name, t in tensors.items() if isinstance(t, Tensor)}
    if not named or len(named) < len(tensors):
        raise ValueError(f"no state dict but keys {list(tensors)[:SHOWN_NAMES]}; save only network.state_dict()")
    return named


def misfits(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """What keeps the given tensors from being the weights of a network whose state dict is `wanted`; empty if nothing does.

    Such as "2 missing (a.weight, a.bias); 1 of another shape (b.weight (3,) instead of (4,))". Counters of batch
    normalisation may be missing: nothing is computed from them.
    """
    faults = {
        "missing": [name for name in wanted if name not in given and not name.endswith("num_batches_tracked")],
        "unexpected": [name for name in given if name not in wanted],
        "of another shape": [
            f"{name} {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in wanted.items()
            if name in given and given[name].shape != tensor.shape
        ],
        "with NaN or infinity": [name for name, tensor in given.items() if not torch.isfinite(tensor).all()],
    }
    return "; ".join(f"{len(names)} {fault} ({_first(names)})" for fault, names in faults.items() if names)


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")


def is_safetensors(data: bytes) -> bool:
    """Eight bytes of header size, then a JSON object."""
    return data[8:9] == b"{"


def read_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the strings of the file's metadata. Raises ValueError if it is damaged or none."""
    try:
        tensors = safetensors.torch.load(data)  # checks the whole file, so the header may be read plainly
    except safetensors.SafetensorError as error:
        raise ValueError(f"damaged or not a safetensors file ({error})") from error
    return tensors, safetensors_metadata(data)


def safetensors_metadata(data: bytes) -> dict[str, str]:
    """The strings that a safetensors file holds beside its tensors; none if its header cannot be read."""
    try:
        return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except (ValueError, AttributeError):
        return {}
