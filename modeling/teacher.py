"""Teachers: networks from face crops to emotion logits, loaded from bytes and named by what they are.

Shape letters: N faces, E = 8 emotions, H = W pixels.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from modeling.compact_teacher import CompactTeacher, CompactTeacherConfig, normalise_faces
from modeling.face_input import CROP_SCALE
from modeling.ferplus import SIDE_PX

DEFAULT_TEACHER = "compact"


@dataclass(frozen=True)
class CropRule:
    """The crops a teacher wants: a square of `scale` times the face box, resized to side_px, grey or RGB."""

    side_px: int
    grey: bool
    scale: float


class Teacher:
    """Face crops -> raw logits, with the identity that every label carries.

    fingerprint: name@first 16 hex digits of the sha256 of the weights file.
    """

    def __init__(
        self, name: str, weights: bytes, network: nn.Module, prepare: Callable[[Tensor], Tensor], crops: CropRule
    ):
        self.fingerprint = f"{name}@{hashlib.sha256(weights).hexdigest()[:16]}"
        self.network = network.eval()
        self.prepare = prepare
        self.crops = crops

    def to(self, device: str) -> "Teacher":
        self.network = self.network.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray, batch_size: int = 128) -> np.ndarray:
        """uint8 crops (N, H, W) grey or (N, H, W, 3) RGB -> float32 logits (N, E), mean over a crop and its mirror image."""
        device = next(self.network.parameters()).device
        parts = [np.empty((0, 8), np.float32)]
        for start in range(0, len(crops), batch_size):
            x = self.prepare(torch.from_numpy(crops[start : start + batch_size]).to(device))
            parts.append(((self.network(x) + self.network(x.flip(-1))) / 2).float().cpu().numpy())
        return np.concatenate(parts)


def save_compact_teacher(network: CompactTeacher, meta: dict) -> bytes:
    """The weights as half-precision safetensors; configuration and `meta` are kept inside as JSON."""
    tensors = {name: t.half() if t.dtype.is_floating_point else t for name, t in network.state_dict().items()}
    config = {
        "widths": list(network.config.widths),
        "blocks": network.config.blocks,
        "embedding": network.config.embedding,
    }
    header = {"format": "emovox.compact_teacher", "config": json.dumps(config), "meta": json.dumps(meta)}
    return safetensors.torch.save({name: t.contiguous() for name, t in tensors.items()}, header)


def load_compact_teacher(weights: bytes) -> CompactTeacher:
    """Raises ValueError if the bytes are not a compact teacher that this version can read."""
    try:
        tensors = safetensors.torch.load(weights)
        header_size = int.from_bytes(weights[:8], "little")
        header = json.loads(weights[8 : 8 + header_size])["__metadata__"]
        config = json.loads(header["config"])
        network = CompactTeacher(CompactTeacherConfig(**{**config, "widths": tuple(config["widths"])}))
        network.load_state_dict({name: t.float() if t.dtype.is_floating_point else t for name, t in tensors.items()})
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"not a compact teacher checkpoint ({reason}); train one with `emovox train-teacher`"
        ) from error
    return network


def packaged_weights() -> bytes:
    """The weights of the teacher that comes with the project (see `modeling/weights/README.md`)."""
    return resources.files("modeling").joinpath("weights/compact_teacher.safetensors").read_bytes()


def load_teacher(name: str, weights: bytes) -> Teacher:
    """A teacher from the bytes of its weights file; `name` is only what its labels are signed with."""
    network = load_compact_teacher(weights).to(memory_format=torch.channels_last)
    return Teacher(name, weights, network, normalise_faces, CropRule(side_px=SIDE_PX, grey=True, scale=CROP_SCALE))
