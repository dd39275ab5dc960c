"""Files as the face recogniser is published in: a TensorFlow.js graph, with weights at random; and what such a graph computes.

The evaluation follows the graph node by node, by the definitions of TensorFlow's operations, and knows nothing of MobileNet.
Shape letters: N faces, H x W pixels, C channels.
"""

import base64
import json

import numpy as np
import torch
from torch.nn import functional as F

STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


class GraphFiles:
    """description: the JSON's content, to be spoilt by a test; values: bytes of the tensors."""

    def __init__(self, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.nodes: list[dict] = [{"name": "input_1", "op": "Placeholder"}]
        self.weights: list[dict] = []
        self.values = b""
        last = self._layer("input_1", "conv1", (3, 3, 3, 32), 2)
        channels = 32
        for block, (stride, outputs) in enumerate(zip(STRIDES, CHANNELS, strict=True), 1):
            last = self._layer(last, f"conv_dw_{block}", (3, 3, channels, 1), stride)
            last = self._layer(last, f"conv_pw_{block}", (1, 1, channels, outputs), 1)
            channels = outputs
        self._constant("global_pooling/Mean/reduction_indices", np.array([1, 2], np.int32))
        self._node("global_pooling/Mean", "Mean", [last, "global_pooling/Mean/reduction_indices"])

    @property
    def description(self) -> dict:
        manifest = [{"paths": ["values.bin"], "weights": self.weights}]
        return {"format": "graph-model", "modelTopology": {"node": self.nodes}, "weightsManifest": manifest}

    @property
    def description_bytes(self) -> bytes:
        return json.dumps(self.description).encode()

    def _layer(self, source: str, layer: str, shape: tuple[int, ...], stride: int) -> str:
        depthwise = "_dw_" in layer
        kernel = f"{layer}/{'depthwise_kernel' if depthwise else 'convolution/merged_input'}"
        fan_in = np.prod(shape[:2]) * (1 if depthwise else shape[2])
        self._constant(kernel, self.rng.normal(0, 1.4 / np.sqrt(fan_in), shape))
        strides = {"strides": {"list": {"i": ["1", str(stride), str(stride), "1"]}}, "padding": {"s": _base64("SAME")}}
        operation = "DepthwiseConv2dNative" if depthwise else "Conv2D"
        last = self._node(f"{layer}/convolved", operation, [source, kernel], strides)
        width = shape[2] if depthwise else shape[3]
        if depthwise:
            self._constant(f"{layer}_bn/batchnorm_1/mul", self.rng.uniform(0.7, 1.3, width))
            last = self._node(f"{layer}_bn/scaled", "Mul", [last, f"{layer}_bn/batchnorm_1/mul"])
        self._constant(f"{layer}_bn/batchnorm_1/sub", self.rng.normal(0, 0.3, width))
        last = self._node(f"{layer}_bn/shifted", "Add", [last, f"{layer}_bn/batchnorm_1/sub"])
        self._constant(f"{layer}_relu/Cast", np.array(6.0))
        self._constant(f"{layer}_relu/Const_1", np.array(0.0))
        last = self._node(f"{layer}_relu/Minimum", "Minimum", [last, f"{layer}_relu/Cast"])
        return self._node(f"{layer}_relu", "Maximum", [last, f"{layer}_relu/Const_1"])

    def _constant(self, name: str, value: np.ndarray) -> None:
        value = value if value.dtype == np.int32 else value.astype(np.float32)
        self.nodes.append({"name": name, "op": "Const"})
        self.weights.append({"name": name, "shape": list(value.shape), "dtype": str(value.dtype)})
        self.values += value.tobytes()

    def _node(self, name: str, operation: str, inputs: list[str], attributes: dict | None = None) -> str:
        self.nodes.append({"name": name, "op": operation, "input": inputs, "attr": attributes or {}})
        return name


def evaluated(description: dict, values: bytes, pictures_NHWC: np.ndarray, wanted: str) -> np.ndarray:
    """The output of the node `wanted`, in double precision."""
    known, start = {"input_1": torch.tensor(pictures_NHWC, dtype=torch.float64)}, 0
    for entry in (entry for group in description["weightsManifest"] for entry in group["weights"]):
        count = int(np.prod(entry["shape"]))
        tensor = np.frombuffer(values, entry["dtype"], count, start).reshape(entry["shape"])
        known[entry["name"]] = torch.tensor(tensor.astype(np.float64))
        start += 4 * count
    for node in description["modelTopology"]["node"]:
        if node["op"] not in ("Const", "Placeholder") and node["name"] not in known:
            known[node["name"]] = _operation(node, [known[name] for name in node["input"]])
        if node["name"] == wanted:
            break
    return known[wanted].numpy()


def _operation(node: dict, inputs: list[torch.Tensor]) -> torch.Tensor:
    simple = {"Mul": torch.mul, "Add": torch.add, "Minimum": torch.minimum, "Maximum": torch.maximum}
    if node["op"] in simple:
        return simple[node["op"]](*inputs)
    if node["op"] == "Relu":
        return inputs[0].clamp_min(0)
    if node["op"] == "Mean":
        return inputs[0].mean((1, 2))
    return _convolution(node, *inputs)


def _convolution(node: dict, x_NHWC: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """SAME: ceil(side / stride) pixels come out; what is to be padded is split, and the odd pixel goes below and right."""
    assert base64.b64decode(node["attr"]["padding"]["s"]) == b"SAME"
    stride, side, reach = int(node["attr"]["strides"]["list"]["i"][1]), x_NHWC.shape[1], kernel.shape[0]
    padding = max(0, (-(-side // stride) - 1) * stride + reach - side)
    before, after = padding // 2, padding - padding // 2
    x_NCHW = F.pad(x_NHWC.permute(0, 3, 1, 2), (before, after, before, after))
    if node["op"] == "DepthwiseConv2dNative":
        y = F.conv2d(x_NCHW, kernel.permute(2, 3, 0, 1), stride=stride, groups=kernel.shape[2])
    else:
        y = F.conv2d(x_NCHW, kernel.permute(3, 2, 0, 1), stride=stride)
    return y.permute(0, 2, 3, 1)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
