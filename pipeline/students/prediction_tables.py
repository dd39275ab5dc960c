"""The tables that `predict` writes, with a row per file or per window, and both raw and prior-corrected answers.

Shape letters: N rows, E = 8 emotions, K classes of a head, D embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from cluster import storage
from cluster.csv_cells import harmless
from cluster.failures import UserError
from modeling.emotions import EMOTIONS
from modeling.students.prior import corrected

Row = Mapping[str, Any]
"""One of `pipeline.students.file_prediction.ROWS_SCHEMA`."""

Columns = dict[str, list[Any]]
"""A table as plain Python: what is only printed needs no pyarrow table, whose first column imports pandas (half a second)."""

CORRECTED = "_corrected"
HEAD = "head_"
SUFFIXES = (".parquet", ".csv")

MUCH_CLIPPED = 0.01
"""If more than this share of a file's samples is at full scale, its loud syllables are distorted and the user is warned."""


def require_table_name(uri: str, option: str) -> None:
    """Call before any work is done: raises UserError if no table can be written there."""
    storage.require_file_name(uri)
    if not uri.lower().endswith(SUFFIXES):
        raise UserError(f"{option} {uri}: the ending says how the table is written; end it in {' or '.join(SUFFIXES)}")


def write_prediction_table(uri: str, columns: Columns) -> None:
    """Writes parquet, or CSV if the name ends in .csv; in CSV each value of an embedding is a column, and no text
    is a formula."""
    if not uri.lower().endswith(".csv"):
        storage.write_table(uri, as_table(columns))
        return
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(as_table(_flat(_without_formulas(columns))), sink)
    storage.write_bytes(uri, sink.getvalue().to_pybytes())


def _without_formulas(columns: Columns) -> Columns:
    return {
        harmless(name): [harmless(value) if isinstance(value, str) else value for value in values]
        for name, values in columns.items()
    }


def as_table(columns: Columns) -> pa.Table:
    return pa.table({name: pa.array(values, _type(name)) for name, values in columns.items()})


def _type(name: str) -> pa.DataType:
    if name == "embedding":
        return pa.list_(pa.float32())
    if name in ("seconds", "start_s", "end_s"):
        return pa.float64()
    if (
        name in ("file", "reject_reason", "reject_detail")
        or name.removeprefix(HEAD).removesuffix(CORRECTED) == "emotion"
    ):
        return pa.string()
    return pa.float32()


def as_rows(columns: Columns) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _flat(columns: Columns) -> Columns:
    if "embedding" not in columns:
        return columns
    length = max((len(row) for row in columns["embedding"] if row is not None), default=0)
    values = [[None] * length if row is None else row for row in columns["embedding"]]
    rest = {name: column for name, column in columns.items() if name != "embedding"}
    return rest | {f"embedding_{d}": [row[d] for row in values] for d in range(length)}


def file_columns(rows: Sequence[Row], meta: Mapping[str, Any], classes: Sequence[str] = ()) -> Columns:
    """meta: of the student; classes: of the head, if any.

    Columns: file, reject_reason, reject_detail, seconds, emotion, the eight raw probabilities, emotion_corrected, the eight
    corrected ones (NAME_corrected; null for a student without a prior), head_emotion, head_CLASS, clipped (share of the
    samples at full scale), embedding. In a reject, all columns after reject_detail are null.
    """
    columns = {name: [row.get(name) for row in rows] for name in ("file", "reject_reason", "reject_detail", "seconds")}
    columns |= _answers(_matrix(rows, "probabilities", len(EMOTIONS)), meta)
    columns |= _head_columns(_matrix(rows, "head", len(classes)), classes)
    return columns | {name: [row.get(name) for row in rows] for name in ("clipped", "embedding")}


def timeline_columns(rows: Sequence[Row], meta: Mapping[str, Any], classes: Sequence[str] = ()) -> Columns:
    """Columns: file, start_s, end_s, and the answers as in `file_columns`, null in a silent window. Rejected files have no
    rows."""
    heard = [row for row in rows if row.get("reject_reason") is None]
    columns: Columns = {"file": [row["file"] for row in heard for _ in range(len(row["window_start_s"]))]}
    columns |= {name: _joined(heard, f"window_{name}").tolist() for name in ("start_s", "end_s")}
    columns |= _answers(_joined(heard, "window_probabilities").reshape(-1, len(EMOTIONS)), meta)
    if classes:
        columns |= _head_columns(_joined(heard, "window_head").reshape(-1, len(classes)), classes)
    return columns


def _joined(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(np.asarray(row[name], np.float64) for row in rows)])


def _matrix(rows: Sequence[Row], name: str, width: int) -> np.ndarray:
    """(N, width); NaN in rows without values."""
    nothing = [np.nan] * width
    values = [nothing if row.get(name) is None else row[name] for row in rows]
    return np.array(values, np.float64).reshape(len(rows), width)


def _answers(probabilities_NE: np.ndarray, meta: Mapping[str, Any]) -> Columns:
    columns = _named(probabilities_NE, EMOTIONS, "emotion", "{}")
    if meta.get("prior") is None:
        without_NE = np.full(probabilities_NE.shape, np.nan)
    else:
        without_NE = corrected(probabilities_NE, np.array(meta["prior"]), meta.get("prior_strength", 1.0))
    return columns | _named(without_NE, EMOTIONS, f"emotion{CORRECTED}", f"{{}}{CORRECTED}")


def _head_columns(probabilities_NK: np.ndarray, classes: Sequence[str]) -> Columns:
    return _named(probabilities_NK, classes, f"{HEAD}emotion", f"{HEAD}{{}}") if classes else {}


def _named(probabilities_NK: np.ndarray, names: Sequence[str], best: str, each: str) -> Columns:
    """A column with the most likely name, then one per name; None where the row is NaN."""
    known = np.all(np.isfinite(probabilities_NK), axis=1).tolist()
    likeliest = probabilities_NK.argmax(1).tolist() if len(probabilities_NK) else []
    columns: Columns = {best: [names[k] if is_known else None for k, is_known in zip(likeliest, known, strict=True)]}
    for k, name in enumerate(names):
        values = probabilities_NK[:, k].astype(np.float32).tolist()
        columns[each.format(name)] = [p if is_known else None for p, is_known in zip(values, known, strict=True)]
    return columns
