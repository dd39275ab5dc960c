"""Makes a small ONNX file without the onnx package, from protobuf fields (onnx/onnx.proto, IR version 8)."""

import numpy as np


def field(number: int, value: int | str | bytes) -> bytes:
    """One protobuf field: an integer as a varint, text and messages preceded by their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def value_info(name: str, shape: tuple[int | None, ...]) -> bytes:
    """The ValueInfoProto of a float tensor; None is a dimension of any size."""
    dims = b"".join(field(1, field(2, "n") if size is None else field(1, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def tensor(name: str, values: np.ndarray) -> bytes:
    dims = b"".join(field(1, size) for size in values.shape)
    return dims + field(2, 1) + field(8, name) + field(9, values.astype("<f4").tobytes())


def node(operator: str, inputs: list[str], output: str) -> bytes:
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operator)


def linear_onnx(input_shape: tuple[int | None, ...], weight_DK: np.ndarray, bias_K: np.ndarray) -> bytes:
    """flatten(picture) @ weight + bias as an ONNX model."""
    graph = field(1, node("Flatten", ["picture"], "flat")) + field(1, node("Gemm", ["flat", "weight", "bias"], "out"))
    graph += field(2, "linear") + field(5, tensor("weight", weight_DK)) + field(5, tensor("bias", bias_K))
    graph += field(11, value_info("picture", input_shape))
    graph += field(12, value_info("out", (input_shape[0], len(bias_K))))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))
