"""External teachers: an ONNX or TorchScript file with a description of its input and output.

Shape letters: N faces, C channels, H = W pixels, K classes of the file, E = 8 emotions.
"""

import io
import zipfile
from typing import ClassVar, cast

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from modeling.emotions import EMOTIONS, MASKED_LOGIT
from modeling.teachers.base import CropRule, TeacherNetwork
from modeling.teachers.description import TeacherDescription, read_description

__all__ = ["TeacherDescription", "external_teacher", "is_torchscript", "read_description"]

PROBABILITY_FLOOR = 1e-8
"""Probabilities below this count as this before the logarithm is taken."""


class OnnxNetwork(nn.Module):
    """An ONNX file in onnxruntime: float (N, ...) -> its first output, float32. Tensors stay in host memory."""

    INPUT_TYPES: ClassVar = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}

    def __init__(self, weights: bytes, device: str):
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        wanted = ["CUDAExecutionProvider"] if torch.device(device).type == "cuda" else []
        available = onnxruntime.get_available_providers()
        providers = [name for name in wanted if name in available] + ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(weights, options, providers=providers)
        inputs = self.session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in self.INPUT_TYPES:
            found = {node.name: node.type for node in inputs}
            raise ValueError(f"the network's inputs are {found}; a teacher takes one picture of floats: export it so")
        self.input, self.dtype = inputs[0].name, self.INPUT_TYPES[inputs[0].type]
        self.output = self.session.get_outputs()[0].name

    def forward(self, x: Tensor) -> Tensor:
        pictures = np.ascontiguousarray(x.cpu().numpy(), self.dtype)
        return torch.from_numpy(self.session.run([self.output], {self.input: pictures})[0]).float()


class ExternalNetwork(nn.Module):
    """Float pictures (N, C, H, W) -> logits (N, E) in the order of `EMOTIONS`, whatever the file's own output is.

    one_by_one: the file handles only one picture at a time.
    """

    def __init__(self, inner: nn.Module, description: TeacherDescription):
        super().__init__()
        self.inner = inner
        self.description = description
        classes = description.emotions
        self.columns_E = [classes.index(name) if name in classes else len(classes) for name in EMOTIONS]
        self.one_by_one = False

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if self.one_by_one and len(x_NCHW) > 1:
            return torch.cat([self(x[None]) for x in x_NCHW])
        logits_NK = self.outputs(x_NCHW).flatten(1).float()
        if self.description.outputs == "probabilities":
            logits_NK = logits_NK.clamp_min(PROBABILITY_FLOOR).log()
        unknown_N1 = logits_NK.new_full((len(logits_NK), 1), MASKED_LOGIT)
        return torch.cat([logits_NK, unknown_N1], 1)[:, self.columns_E]

    def outputs(self, x_NCHW: Tensor) -> Tensor:
        """The file's first output: (N, K) or (N, K, 1, 1)."""
        nhwc = self.description.layout == "NHWC"
        outputs = self.inner(x_NCHW.permute(0, 2, 3, 1).contiguous() if nhwc else x_NCHW)
        return outputs[0] if isinstance(outputs, tuple | list) else outputs


def is_torchscript(data: bytes) -> bool:
    """Whether the bytes are a TorchScript file: a zip archive with a folder code/ inside its single top folder."""
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile:
        return False
    return any(name.split("/")[1:2] == ["code"] for name in names)


def external_teacher(weights: bytes, description: TeacherDescription, device: str = "cpu") -> TeacherNetwork:
    """The `TeacherNetwork` in an ONNX or TorchScript file.

    Raises ValueError if the bytes are neither, or if the network's input or output does not match the description.
    """
    scripted = is_torchscript(weights)
    inner = _torchscript(weights, device) if scripted else _onnx(weights, device)
    network = ExternalNetwork(inner, description).eval()
    grey, side_px = description.colour == "grey", description.side_px
    rule = CropRule(side_px=side_px, grey=grey, scale=description.crop_scale)
    zero = torch.zeros((2, side_px, side_px) if grey else (2, side_px, side_px, 3), dtype=torch.uint8)
    _try_once(network, _prepared(zero.to(device if scripted else "cpu"), description))
    return TeacherNetwork(
        network,
        lambda pictures: _prepared(pictures, description),
        rule,
        masked=description.masked,
        flip_tta=description.mirrored,
        follows_device=scripted,
    )


def _torchscript(weights: bytes, device: str) -> nn.Module:
    try:
        return torch.jit.load(io.BytesIO(weights), map_location=device)
    except RuntimeError as error:
        raise ValueError(f"a TorchScript file that does not load ({_reason(error)}); save it again") from error


def _onnx(weights: bytes, device: str) -> OnnxNetwork:
    try:
        return OnnxNetwork(weights, device)
    except ValueError:
        raise
    except Exception as error:  # onnxruntime's errors share no class of their own
        raise ValueError(
            f"neither a TorchScript file nor an ONNX model in one file ({_reason(error)}); "
            "save the network with torch.jit.script(network).save(path) or torch.onnx.export"
        ) from error


def _prepared(crops: Tensor, description: TeacherDescription) -> Tensor:
    """uint8 crops (N, H, W) grey or (N, H, W, 3) RGB -> float32 (N, C, H, W), scaled as described."""
    if description.colour == "grey":
        x = crops[:, None].expand(-1, description.channels or 1, -1, -1)
    else:
        x = crops.permute(0, 3, 1, 2)
    x = x.flip(1) if description.colour == "bgr" else x
    mean, std = (
        torch.tensor(value, dtype=torch.float32, device=x.device).reshape(1, -1, 1, 1)
        for value in (description.mean, description.std)
    )
    return (x.float() * description.scale - mean) / std


@torch.inference_mode()
def _try_once(network: ExternalNetwork, zeros_2CHW: Tensor) -> None:
    """Runs blank pictures, to find a wrong description before any face is labelled; sets `one_by_one`."""
    description = network.description
    expected = len(description.classes)
    try:
        outputs = cast(object, network.outputs(zeros_2CHW[:1]))
    except Exception as error:  # onnxruntime's errors share no class of their own
        _, channels, side_px, _ = zeros_2CHW.shape
        axes = (1, channels, side_px, side_px) if description.layout == "NCHW" else (1, side_px, side_px, channels)
        raise ValueError(
            f"the network does not take a picture of shape {axes}, as the description has it; "
            f"correct side_px, channels or layout ({_reason(error)})"
        ) from error
    if not isinstance(outputs, Tensor) or outputs.ndim < 2 or max(outputs.shape[1:]) != outputs[0].numel():
        found = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ValueError(
            f"the network gives {found} for one picture; expected (1, {expected}): save it so that it does"
        )
    if outputs[0].numel() != expected:
        raise ValueError(
            f"the network gives {outputs[0].numel()} outputs, the description has {expected} classes; "
            "list one class for each output, in their order"
        )
    _check_kind(outputs.float(), description)
    try:
        network.one_by_one = network.outputs(zeros_2CHW).shape != (2, *outputs.shape[1:])
    except Exception:  # noqa: BLE001 (it only takes a batch of one)
        network.one_by_one = True


def _check_kind(outputs_1K: Tensor, description: TeacherDescription) -> None:
    """Raises ValueError if the description says probabilities and they do not sum to one, or logits and they do.

    Probabilities taken for logits would give soft labels that hardly differ between the emotions.
    """
    if not outputs_1K.isfinite().all():
        return  # some networks divide by the picture's deviation, which is zero for a blank one
    sums_to_one = abs(float(outputs_1K.sum()) - 1) < 1e-2
    lowest = float(outputs_1K.min())  # a softmax never gives exactly zero
    found = "probabilities" if sums_to_one and lowest >= 0 else "logits"
    if found != description.outputs and not (found == "probabilities" and lowest == 0):
        raise ValueError(
            f"outputs = {description.outputs!r}, but for a blank picture the network gives {found} "
            f'({[round(value, 3) for value in outputs_1K.flatten().tolist()]}); give "outputs": "{found}"'
        )


def _reason(error: Exception) -> str:
    """A runtime's error in one line: the end of TorchScript's, after its listing, or all lines of onnxruntime's."""
    return " ".join(str(error).rpartition("RuntimeError: ")[2].split())[:300]
