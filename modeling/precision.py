"""The number format in which a network runs: by default single precision on a CPU, half precision on CUDA."""

import contextlib
import functools
from pathlib import Path

import torch

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}

DEFAULT_PRECISION = {"cpu": "fp32", "cuda": "fp16"}
"""Keyed by type of device. Half precision keeps three more bits than bfloat16: for 99 % of faces, the compact teacher's logits
change by less than 0.02 instead of 0.2 (tests/modeling/teachers/test_load.py)."""


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """The context in which to run a network. precision: a name of `PRECISIONS`, or "auto" for the device's default.

    Raises ValueError for any other name.
    """
    if precision not in (*PRECISIONS, "auto"):
        raise ValueError(f"precision {precision!r} is not known; choose auto, {', '.join(PRECISIONS)}")
    name = DEFAULT_PRECISION[device.type] if precision == "auto" else precision
    return contextlib.nullcontext() if name == "fp32" else torch.autocast(device.type, PRECISIONS[name])


@functools.cache
def has_fast_bfloat16() -> bool:
    """Whether this processor multiplies matrices in bfloat16 (AVX512-BF16 or AMX); False where the system does not say."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:  # not Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
