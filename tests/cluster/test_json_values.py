import json
import math
from dataclasses import dataclass
from enum import Enum, StrEnum
from pathlib import Path

import numpy as np
import pytest

from cluster.json_values import json_ready


class Reason(StrEnum):
    NO_FACE = "no_face"


class Level(Enum):
    HIGH = 3


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float | None = None


@dataclass(frozen=True)
class Report:
    name: str
    estimates: tuple[Estimate, ...]
    by_reason: dict[Reason, int]


def test_nested_dataclasses_become_objects_with_their_fields_in_order():
    ready = json_ready(Report("val", (Estimate(0.5), Estimate(0.7, 0.6)), {Reason.NO_FACE: 2}))
    assert ready == {
        "name": "val",
        "estimates": [{"value": 0.5, "low": None}, {"value": 0.7, "low": 0.6}],
        "by_reason": {"no_face": 2},
    }
    assert list(ready) == ["name", "estimates", "by_reason"]
    assert type(next(iter(ready["by_reason"]))) is str


@pytest.mark.parametrize(
    ("value", "ready"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.arange(4).reshape(2, 2), [[0, 1], [2, 3]]),
        (Level.HIGH, 3),
        (Path("/a/b"), "/a/b"),
        ((1, "x", None, False), [1, "x", None, False]),
        ({2: "a", None: "b", True: "c", 0.5: "d"}, {"2": "a", "null": "b", "true": "c", "0.5": "d"}),
    ],
)
def test_scalars_arrays_enums_paths_and_keys_have_a_form_that_is_read_back_the_same(value, ready):
    found = json_ready(value)
    assert found == ready and json.loads(json.dumps(found)) == ready
    assert type(found) is type(ready)


def test_nan_and_infinity_are_kept_as_pythons_json_writes_them():
    text = json.dumps(json_ready({"a": float("nan"), "b": np.float32("inf")}))
    assert text == '{"a": NaN, "b": Infinity}'
    assert math.isnan(json.loads(text)["a"])


@pytest.mark.parametrize("value", [{1, 2}, object(), Estimate, {"a": b"x"}, {(1, 2): "a"}])
def test_what_json_has_no_form_for_is_a_bug_that_is_named(value):
    with pytest.raises(TypeError, match="JSON"):
        json_ready(value)
