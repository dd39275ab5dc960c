"""Loads a teacher from a file of any kind: the compact one, the published networks, ONNX and TorchScript."""

from modeling.layers import fold_batch_norms
from modeling.state_dicts import is_safetensors
from modeling.teachers.base import Teacher, TeacherNetwork
from modeling.teachers.catalogue import PUBLISHED
from modeling.teachers.compact import compact_teacher, load_compact_teacher
from modeling.teachers.external import external_teacher, is_torchscript, read_description
from modeling.teachers.mobilenet import is_mobilenet, load_mobilenet, mobilenet_teacher
from modeling.teachers.published import published_teacher

CHECKPOINT_STARTS = (b"PK\x03\x04", b"\x80")
"""First bytes of torch.save's files: a zip archive, or a pickle of torch before 1.6."""


def needs_description(name: str, weights: bytes) -> bool:
    """Whether the file lacks a definition of its input: true for ONNX and TorchScript."""
    return name.lower().endswith(".onnx") or is_torchscript(weights)


def load_teacher(
    name: str,
    weights: bytes,
    description: bytes = b"",
    *,
    device: str = "cpu",
    precision: str = "auto",
    flip_tta: bool = True,
) -> Teacher:
    """A teacher from the bytes of its weights file; its kind is recognised from the bytes.

    name: the name in its labels' fingerprint; if it is a published name, the file must hold that network.
    description: JSON text for ONNX and TorchScript (`modeling.teachers.external.TeacherDescription`).
    flip_tta: see `Teacher`.
    Raises a ValueError that says what is wrong with the file and what to do.
    """
    if description or is_torchscript(weights):
        parts = external_teacher(weights, read_description(description, f"{name}.json beside the file"), device)
    elif is_safetensors(weights):
        parts = _own_network(weights)
    elif not weights.startswith(CHECKPOINT_STARTS):
        raise ValueError(
            f"neither a compact teacher (safetensors) nor a PyTorch checkpoint; the file begins with {weights[:16]!r}"
        )
    else:
        _, parts = published_teacher(weights, name if name in PUBLISHED else None)
    return Teacher(name, weights, parts, device=device, precision=precision, flip_tta=flip_tta)


def _own_network(weights: bytes) -> TeacherNetwork:
    """A network of this project, with its batch norms folded: 13 % less time."""
    if is_mobilenet(weights):
        mobilenet = load_mobilenet(weights).eval()
        fold_batch_norms(mobilenet)
        return mobilenet_teacher(mobilenet)
    compact = load_compact_teacher(weights).eval()
    fold_batch_norms(compact)
    return compact_teacher(compact)
