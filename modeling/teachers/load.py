"""Teachers by the file they come in: the compact one, the published networks, ONNX and TorchScript."""

from torch.fx.experimental.optimization import fuse

from modeling.teachers.base import Teacher
from modeling.teachers.compact import compact_teacher, load_compact_teacher
from modeling.teachers.external import described_teacher, is_torchscript, read_description
from modeling.teachers.published import PUBLISHED, published_teacher

DEFAULT_TEACHER = "compact"

TEACHERS = (DEFAULT_TEACHER, *PUBLISHED)
"""Names that need no file: the packaged weights, and the authors' at their URL."""

CHECKPOINT_STARTS = (b"PK\x03\x04", b"\x80")
"""First bytes of torch.save's files: a zip archive, or a pickle of torch before 1.6."""


def needs_description(name: str, weights: bytes) -> bool:
    """Whether the file says only how to compute, not what it wants to see: ONNX and TorchScript."""
    return name.lower().endswith(".onnx") or is_torchscript(weights)


def load_teacher(
    name: str, weights: bytes, description: bytes = b"", device: str = "cpu", precision: str = "auto"
) -> Teacher:
    """A teacher from the bytes of its weights file, whose kind shows in them.

    name: what its labels are signed with; under a published name the file must hold that network.
    description: JSON text for ONNX and TorchScript (`modeling.teachers.external.TeacherDescription`).
    Raises ValueError that says what is wrong with the file and what to do.
    """
    if description or is_torchscript(weights):
        parts = described_teacher(weights, read_description(description, f"{name}.json beside the file"), device)
    elif _is_safetensors(weights):
        parts = compact_teacher(fuse(load_compact_teacher(weights).eval()))  # batch norms folded: 13 % less time
    elif not weights.startswith(CHECKPOINT_STARTS):
        raise ValueError(
            f"neither a compact teacher (safetensors) nor a PyTorch checkpoint; the file begins with {weights[:16]!r}"
        )
    else:
        _, parts = published_teacher(weights, name if name in PUBLISHED else None)
    return Teacher(name, weights, parts, device, precision)


def _is_safetensors(weights: bytes) -> bool:
    """Eight bytes of header size, then a JSON object."""
    return weights[8:9] == b"{"
