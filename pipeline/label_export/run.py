"""Writes an export: parts are read once, one after the other, and each file is written in one go when its last row was read."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cluster import storage
from cluster.failures import UserError
from cluster.identity import claim
from pipeline.dataset.label_set import LabelSet
from pipeline.dataset.part_file import read_part_file
from pipeline.label_export.card import card
from pipeline.label_export.formats import Form, Shard
from pipeline.label_export.plan import ExportCounts, ExportPlan, plan_export, set_fingerprint

PARTS_AHEAD = 4
"""Parts that are read while earlier ones are written; one takes 5 to 20 MB."""


@dataclass(frozen=True)
class ExportResult:
    """files: of the whole export; written: those that this run wrote, the others were there."""

    counts: ExportCounts
    files: int
    written: int


def export_labels(
    labels: LabelSet, form: Form, out_uri: str, *, options: dict[str, Any], temperature: float
) -> ExportResult:
    """Writes what is missing, and README.md. options: what else decides the bytes of the files.

    Raises UserError for a set that is not finished, nothing to export, and a folder that holds something else.
    """
    if not labels.is_finished:
        raise UserError(
            f"{labels.uri}: the set is still being written, or its run was stopped; wait, or give its command again, and export "
            "it when it is finished"
        )
    plan, counts = plan_export(labels, form.layout)
    claim(out_uri, {"export_of": set_fingerprint(labels), "temperature": temperature} | options)
    missing_S = _missing(plan, out_uri)
    if missing_S.any():
        _write(labels, plan, form, out_uri, missing_S, temperature)
    text = card(labels, counts, form=options["format"], files=plan.files, temperature=temperature)
    storage.write_bytes(storage.join(out_uri, "README.md"), text.encode())
    return ExportResult(counts, len(plan.files), int(missing_S.sum()))


def _missing(plan: ExportPlan, out_uri: str) -> np.ndarray:
    there = {file.uri for file in storage.list_files(out_uri)}
    return np.array([storage.join(out_uri, name) not in there for name in plan.files])


def _write(
    labels: LabelSet, plan: ExportPlan, form: Form, out_uri: str, missing_S: np.ndarray, temperature: float
) -> None:
    left_S, open_shards = plan.rows_of_files(), dict[int, Shard]()
    for of_file, table in _read(labels, plan.by_part(missing_S), form.columns):
        for file, rows in of_file.items():
            if file not in open_shards:
                open_shards[file] = form.shard(temperature)
            open_shards[file].add(table.take(pa.array(rows)))
            left_S[file] -= len(rows)
            if not left_S[file]:
                storage.write_bytes(storage.join(out_uri, plan.files[file]), open_shards.pop(file).content())
                pa.default_memory_pool().release_unused()
    assert not open_shards, "each file ends with its last row"


def _read(
    labels: LabelSet, parts: Iterable[tuple[int, dict[int, np.ndarray]]], columns: Iterable[str]
) -> Iterator[tuple[dict[int, np.ndarray], pa.Table]]:
    """The parts in order, some of them read ahead."""
    wanted = list(columns)

    def read(number: int) -> pa.Table:
        part = labels.parts[number]
        return read_part_file(part.uri, wanted, seal=part.seal).table

    under_way: deque[tuple[dict[int, np.ndarray], Future[pa.Table]]] = deque()
    with ThreadPoolExecutor(PARTS_AHEAD) as pool:
        for number, of_file in parts:
            under_way.append((of_file, pool.submit(read, number)))
            if len(under_way) > PARTS_AHEAD:
                yield _done(under_way)
        while under_way:
            yield _done(under_way)


def _done(under_way: "deque[tuple[dict[int, np.ndarray], Future[pa.Table]]]") -> tuple[dict[int, np.ndarray], pa.Table]:
    of_file, reading = under_way.popleft()
    return of_file, reading.result()
