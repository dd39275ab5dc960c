"""The file of all measurements, `docs/benchmarks.csv`, to which `emovox bench --record` appends.

A row is one number of one bench, with its machine, versions and commit, so pandas or a spreadsheet can read the file
directly.
"""

import csv
import dataclasses
import io
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from cluster import storage
from cluster.csv_cells import harmless
from cluster.failures import UserError
from cluster.working_tree import PROJECT_ROOT

MEASUREMENTS = PROJECT_ROOT / "docs" / "benchmarks.csv"

COLUMNS = (
    *("date", "bench", "quantity", "value", "unit"),
    *("processor", "cores", "memory_gib", "gpu"),
    *("python", "ray", "torch", "emovox", "commit", "notes"),
)
VERSIONS = ("python", "ray", "torch", "emovox")


PLACES = {"address", "data", "file", "labels", "out", "record", "record_file"}
"""Options that are paths on the user's machine; the others say what was measured."""


def headlines(report: Mapping[str, Any], units: Mapping[str, str], *, notes: str = "") -> list[dict[str, Any]]:
    """The rows of a report made by `measuring.described`.

    units: pattern of a quantity's dotted name, such as `job.seconds` or `*.cpu_s_a_clip` -> its unit. Numbers whose names
    match no pattern are left out.
    """
    hardware = report["hardware"]
    shared = {
        "date": report["date"],
        "bench": report["bench"],
        "processor": hardware["cpu"],
        "cores": hardware["cores"],
        "memory_gib": hardware["ram_gib"],
        "gpu": ", ".join(hardware["gpus"]),
        **{name: report["versions"].get(name, "") for name in VERSIONS},
        "commit": report["commit"] or "",
        "notes": "; ".join(filter(None, [f"load {hardware['load_1min']:g}", notes])),
    }
    return [
        shared | {"quantity": name, "value": value, "unit": unit}
        for name, value in _numbers(report)
        if (unit := next((unit for pattern, unit in units.items() if fnmatchcase(name, pattern)), None)) is not None
    ]


def changed_options(options: Any) -> str:
    """The options that differ from a bench's defaults, such as `workers (1,), steps 5`; without paths."""
    changed = [
        f"{field.name} {value}"
        for field in dataclasses.fields(options)
        if field.name not in PLACES and (value := getattr(options, field.name)) != field.default
    ]
    return ", ".join(changed)


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Dotted name and value of every number in the nested mappings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + name, value


def require_appendable(path: str | Path) -> None:
    """Raises UserError unless the file is absent, empty or one of ours. Call it before a bench spends its minutes."""
    _content(path)


def append(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Appends the rows, all or none; writes the header if the file is new. Raises UserError if the file is not one of ours."""
    content = _content(path)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if not content:
        writer.writeheader()
    writer.writerows({name: harmless(v) if isinstance(v, str) else v for name, v in row.items()} for row in rows)
    separator = b"\n" if content and not content.endswith(b"\n") else b""
    storage.write_bytes(path, content + separator + text.getvalue().encode())


def _content(path: str | Path) -> bytes:
    content = storage.read_bytes(path) if storage.exists(path) else b""
    header = content.partition(b"\n")[0].decode(errors="replace").rstrip("\r")
    if content and header != ",".join(COLUMNS):
        raise UserError(f"{path}: its first line is not {','.join(COLUMNS)}; give another file to --record-file")
    return content
