"""Reads a TensorFlow.js graph model: a JSON file that names the tensors, and a file of their values one after another.

Source of the format: tensorflow/tfjs, tfjs-core `io/types.ts` (WeightsManifestConfig) and tfjs-converter's README.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from modeling.state_dicts import SHOWN_NAMES

DTYPES = {"float32": np.dtype("<f4"), "int32": np.dtype("<i4")}
"""Of the format's kinds, those that are not quantised."""


@dataclass(frozen=True)
class Node:
    """One operation. inputs: names of the nodes it reads; attributes: as in the file, bytes in base64."""

    name: str
    operation: str
    inputs: tuple[str, ...]
    attributes: dict[str, Any]

    def text(self, attribute: str) -> str:
        """A value that the file holds as bytes, such as the padding."""
        return base64.b64decode(self.attributes[attribute]["s"]).decode()

    def whole_numbers(self, attribute: str) -> tuple[int, ...]:
        """A list such as the strides."""
        return tuple(int(number) for number in self.attributes[attribute]["list"]["i"])


@dataclass(frozen=True)
class GraphModel:
    """nodes: in the file's order, constants among them; tensors: values of the constants by name."""

    nodes: tuple[Node, ...]
    tensors: dict[str, np.ndarray]


def read_graph_model(description: bytes, values: bytes, *, sha256: str | None = None) -> GraphModel:
    """description: the JSON file; values: all of its weight files, joined; sha256: what `values` must have.

    Raises ValueError that says what is wrong with either file.
    """
    if sha256 and hashlib.sha256(values).hexdigest() != sha256:
        raise ValueError(f"the values have sha256 {hashlib.sha256(values).hexdigest()}, expected {sha256}")
    try:
        content = cast(dict[str, Any], json.loads(description))
        if content["format"] != "graph-model":
            raise ValueError(f"format is {content['format']!r}, expected 'graph-model'")
        nodes = tuple(_node(entry) for entry in content["modelTopology"]["node"])
        entries = [entry for group in content["weightsManifest"] for entry in group["weights"]]
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"no description of a TensorFlow.js graph model ({type(error).__name__}: {error})") from error
    return GraphModel(nodes, _tensors(entries, values, {n.name for n in nodes if n.operation == "Const"}))


def _node(entry: dict[str, Any]) -> Node:
    return Node(entry["name"], entry["op"], tuple(entry.get("input", ())), entry.get("attr", {}))


def _tensors(entries: list[dict[str, Any]], values: bytes, constants: set[str]) -> dict[str, np.ndarray]:
    """Cuts the values into tensors; they must be used up, and be those that the graph's constants name."""
    tensors: dict[str, np.ndarray] = {}
    start = 0
    for entry in entries:
        name, dtype = entry.get("name", ""), DTYPES.get(entry.get("dtype", ""))
        if dtype is None or "quantization" in entry:
            raise ValueError(f"{name} is {entry.get('dtype')} or quantised; only plain {', '.join(DTYPES)} can be read")
        shape = tuple(entry["shape"])
        count = int(np.prod(shape, dtype=np.int64))
        end = start + count * dtype.itemsize
        if end > len(values):
            raise ValueError(f"the values end after {len(values)} bytes, inside {name}; fetch the file again")
        tensors[name] = np.frombuffer(values, dtype, count, start).reshape(shape)
        start = end
    if start < len(values):
        raise ValueError(f"the values have {len(values)} bytes, the description accounts for {start}")
    if odd := sorted(constants ^ set(tensors)):
        raise ValueError(f"graph and values disagree about {len(odd)} tensors ({', '.join(odd[:SHOWN_NAMES])})")
    return tensors
