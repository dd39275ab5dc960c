"""TensorFlow.js graph models: what is whole is read as it is, what is not is refused by what is wrong with it."""

import hashlib
import json

import numpy as np
import pytest

from modeling.teachers.tfjs import read_graph_model

VALUES = np.arange(6, dtype="<f4").tobytes() + np.array([1, 2], "<i4").tobytes()


def description(**changes) -> dict:
    weights = [
        {"name": "kernel", "shape": [2, 3], "dtype": "float32"},
        {"name": "axes", "shape": [2], "dtype": "int32"},
    ]
    nodes = [{"name": "kernel", "op": "Const"}, {"name": "axes", "op": "Const"}]
    nodes.append({"name": "mean", "op": "Mean", "input": ["kernel", "axes"]})
    content = {"format": "graph-model", "modelTopology": {"node": nodes}}
    return content | {"weightsManifest": [{"paths": ["x.bin"], "weights": weights}]} | changes


def manifest(*weights: dict) -> list[dict]:
    return [{"paths": ["x.bin"], "weights": list(weights)}]


def read(content: object, values: bytes = VALUES, **options):
    return read_graph_model(json.dumps(content).encode(), values, **options)


def test_tensors_have_the_files_names_shapes_and_values():
    graph = read(description(), sha256=hashlib.sha256(VALUES).hexdigest())
    assert np.array_equal(graph.tensors["kernel"], np.arange(6).reshape(2, 3))
    assert graph.tensors["axes"].tolist() == [1, 2]
    assert graph.nodes[2].operation == "Mean" and graph.nodes[2].inputs == ("kernel", "axes")


@pytest.mark.parametrize(
    ("content", "values", "named"),
    [
        (description(), VALUES[:-3], "end after 29 bytes, inside axes"),
        (description(), VALUES + b"\0", "33 bytes, the description accounts for 32"),
        (description(format="layers-model"), VALUES, "format is 'layers-model'"),
        ({"format": "graph-model"}, VALUES, "KeyError: 'modelTopology'"),
        ([], VALUES, "no description of a TensorFlow.js graph model"),
        (description(weightsManifest=[]), b"", "disagree about 2 tensors .axes, kernel"),
        (
            description(weightsManifest=manifest({"name": "kernel", "shape": [3], "dtype": "uint8"})),
            VALUES,
            "kernel is uint8 or quantised",
        ),
    ],
)
def test_what_is_wrong_is_named(content, values, named):
    with pytest.raises(ValueError, match=named):
        read(content, values)


def test_values_with_another_sha256_are_refused():
    with pytest.raises(ValueError, match="have sha256 .*, expected 00"):
        read(description(), sha256="00")


def test_a_description_that_is_no_json_is_refused():
    with pytest.raises(ValueError, match="JSONDecodeError"):
        read_graph_model(b"<html>", VALUES)
