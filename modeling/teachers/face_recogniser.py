"""MobileNet v1 as it learnt to recognise the people of VGGFace2, from the TensorFlow.js files in which it is published.

There batch norms are folded into the kernels, or kept as a factor and a summand; here they are batch norms again, so that the
network can learn on. Layout of kernels there: H x W x inputs x outputs, of depthwise ones H x W x channels x 1.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from modeling.state_dicts import SHOWN_NAMES
from modeling.teachers.mobilenet import BLOCKS, MobileNetTeacher, save_body
from modeling.teachers.tfjs import GraphModel, read_graph_model

HEADS = ("age_pred/", "feats/", "gender_pred/", "global_pooling/")
"""What comes behind the last convolution: age and sex are not our subject."""

LAYERS = ("conv1", *(f"conv_{kind}_{block}" for block in range(1, len(BLOCKS) + 1) for kind in ("dw", "pw")))
"""In the order of `MobileNetTeacher.units`."""


VALUES_SHA256 = "b0ea2cc4805891a0f22dc57b06b57806b967831305c40818400fda40aec341f4"
"""Of the published values."""


def body_file(description: bytes, values: bytes, *, sha256: str | None = VALUES_SHA256) -> bytes:
    """The published files as what `modeling.teachers.mobilenet.start_from` takes. sha256: of `values`; None: any.

    Raises ValueError if they are damaged or hold another network.
    """
    network = MobileNetTeacher()
    copy_body(read_graph_model(description, values, sha256=sha256), network)
    return save_body(network, {"values": sha256})


def copy_body(graph: GraphModel, network: MobileNetTeacher) -> None:
    """Writes the published weights into all of the network but its classifier.

    Raises ValueError if the graph is another network: other tensors, other shapes, other strides or bounds.
    """
    body = {name: tensor for name, tensor in graph.tensors.items() if not name.startswith(HEADS)}
    _check_names(body)
    _check_operations(graph, body, [unit.stride for unit in network.conv_units])
    for layer, unit in zip(LAYERS, network.conv_units, strict=True):
        own = unit.state_dict()
        for name, tensor in _unit_state(layer, body, unit.bn.eps).items():
            if own[name].shape != tensor.shape:
                raise ValueError(f"{layer}: {name} is {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
            own[name].copy_(tensor)


def _constants(layer: str) -> dict[str, str]:
    """What a layer's tensors are -> their names in the file."""
    depthwise = "_dw_" in layer
    names = {"kernel": f"{layer}/{'depthwise_kernel' if depthwise else 'convolution/merged_input'}"}
    names |= {"shift": f"{layer}_bn/batchnorm_1/sub", "most": f"{layer}_relu/Cast", "least": f"{layer}_relu/Const_1"}
    return names | ({"scale": f"{layer}_bn/batchnorm_1/mul"} if depthwise else {})


def _unit_state(layer: str, body: Mapping[str, np.ndarray], eps: float) -> dict[str, Tensor]:
    """A layer's weights under the names of a `ConvUnit`, with a batch norm that only adds the layer's shift."""
    tensors = {what: torch.tensor(body[name]) for what, name in _constants(layer).items()}
    if "scale" in tensors:
        kernel = (tensors["kernel"] * tensors["scale"][:, None]).permute(2, 3, 0, 1)
    else:
        kernel = tensors["kernel"].permute(3, 2, 0, 1)
    if layer == "conv1":
        kernel = kernel.flip(1)  # BGR there
    shift = tensors["shift"]
    norm = {"weight": torch.ones_like(shift), "bias": shift, "running_mean": torch.zeros_like(shift)}
    norm |= {"running_var": torch.full_like(shift, 1 - eps)}
    return {"conv.weight": kernel} | {f"bn.{name}": tensor for name, tensor in norm.items()}


def _check_names(body: Mapping[str, np.ndarray]) -> None:
    wanted = {name for layer in LAYERS for name in _constants(layer).values()}
    if odd := sorted(wanted ^ set(body)):
        raise ValueError(
            f"not the face recogniser's network: {len(odd)} tensors differ ({', '.join(odd[:SHOWN_NAMES])})"
        )


def _check_operations(graph: GraphModel, body: Mapping[str, np.ndarray], strides: list[int]) -> None:
    """Strides and paddings of the convolutions, in order, and the bounds of what follows them."""
    convolutions = [node for node in graph.nodes if node.operation in ("Conv2D", "DepthwiseConv2dNative")]
    found = [(node.whole_numbers("strides")[1], node.text("padding")) for node in convolutions]
    if found != [(stride, "SAME") for stride in strides]:
        raise ValueError(f"strides and paddings are {found}, not those of MobileNet v1")
    bounds = {(float(body[names["least"]]), float(body[names["most"]])) for names in map(_constants, LAYERS)}
    if bounds != {(0.0, 6.0)}:
        raise ValueError(f"activations are cut at {sorted(bounds)} instead of 0 and 6")
