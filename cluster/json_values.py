"""Turns the values that functions return into JSON, where they are written or printed.

Functions return frozen dataclasses. `storage.write_json`, `cluster.command.run_job` and `RunRecord` call `json_ready`, so
their callers can pass dataclasses, tuples and numpy numbers as they are.
"""

import dataclasses
import json
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any, TypeAlias, cast

import numpy as np

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"


def json_ready(value: object) -> Any:
    """The value as `json.loads` would give it back: dict, list, str, int, float, bool or None (a `JsonValue`).

    Dataclasses and mappings become objects with their fields in order; tuples, lists and arrays become arrays; enums become
    their values; paths and keys become text; numpy scalars become Python's. NaN and infinities stay: Python's json writes
    them as `NaN` and `Infinity`. Raises TypeError for anything else, including a set, which has no order.
    """
    match value:
        case Enum():
            return json_ready(value.value)
        case np.generic() | np.ndarray():
            return json_ready(cast(object, value.tolist()))
        case None | bool() | str() | int() | float():
            return value
        case PurePath():
            return str(value)
        case list() | tuple():
            return [json_ready(item) for item in cast(list[object], value)]
        case Mapping():
            return {_key(key): json_ready(item) for key, item in cast(Mapping[object, object], value).items()}
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: json_ready(getattr(value, field.name)) for field in dataclasses.fields(value)}
        case _:
            raise TypeError(f"{value!r} is a {type(value).__name__}, for which JSON has no form")


def _key(key: object) -> str:
    """Keys as Python's json writes them: 1 as "1", True as "true", None as "null"."""
    plain = json_ready(key)
    if isinstance(plain, (dict, list)):
        raise TypeError(f"{key!r} cannot be the key of a JSON object")
    return plain if isinstance(plain, str) else json.dumps(plain)
