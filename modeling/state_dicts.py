"""Reads other people's weight files without running any code in them, and compares them with what a network needs."""

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor

SHOWN_NAMES = 3


def read_state_dict(source: bytes | str | Path) -> dict[str, Tensor]:
    """The tensors, by name, in a file of `torch.save`: a state dict or {"state_dict": ...}. The "module." that
    DataParallel puts before every name is removed.

    Raises ValueError for any other content; the caller adds which file it is and what to give instead.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        content = cast(object, torch.load(file, map_location="cpu", weights_only=True))
    except OSError:  # no such file
        raise
    except Exception as error:  # unpickling foreign bytes can raise anything
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
    """Says why the given tensors cannot be the weights of a network whose state dict is `wanted`; "" if they can.

    For example "2 missing (a.weight, a.bias); 1 of another shape (b.weight (3,) instead of (4,))". The counters of batch
    normalisation may be missing, because nothing is computed from them.
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


def require_fitting(wanted: Callable[[], Mapping[str, Tensor]], tensors: Mapping[str, Tensor]) -> None:
    """Raises ValueError where the network that a file describes wants other tensors than the file holds: before memory is taken
    for it, which a header may claim without end. wanted: builds the network and gives its state dict."""
    with torch.device("meta"):
        described = wanted()
    if reason := misfits(described, tensors):
        raise ValueError(reason)


def _first(names: list[str]) -> str:
    return ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")


def is_safetensors(data: bytes) -> bool:
    """Whether the bytes start like safetensors: eight bytes of header size, then a JSON object."""
    return data[8:9] == b"{"


def read_safetensors(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the strings in the file's metadata. Raises ValueError if it is damaged or not safetensors."""
    try:
        tensors = safetensors.torch.load(data)  # checks the whole file, so the header can be read without checks
    except safetensors.SafetensorError as error:
        raise ValueError(f"damaged or not a safetensors file ({error})") from error
    return tensors, safetensors_metadata(data)


def safetensors_metadata(data: bytes) -> dict[str, str]:
    """The strings that a safetensors file holds beside its tensors; none if its header cannot be read."""
    try:
        return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
    except (ValueError, AttributeError):
        return {}
