"""The tables that `predict` writes: one row a file, one row a window; raw answers and prior-corrected ones side by side.

Shape letters: N rows, E = 8 emotions, K classes of a head, D embedding.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from cluster import storage
from cluster.csv_cells import harmless
from cluster.failures import UserError
from modeling.emotions import EMOTIONS
from modeling.students.prior import corrected

CORRECTED = "_corrected"
HEAD = "head_"
SUFFIXES = (".parquet", ".csv")


def require_table_name(uri: str, option: str) -> None:
    """Raises UserError if no table can be written there, before any work is done."""
    storage.require_file_name(uri)
    if not uri.lower().endswith(SUFFIXES):
        raise UserError(f"{option} {uri}: the ending says how the table is written; end it in {' or '.join(SUFFIXES)}")


def write_prediction_table(uri: str, table: pa.Table) -> None:
    """Parquet, or CSV where the name ends so: there an embedding is one column for each value, and no text is a formula."""
    if not uri.lower().endswith(".csv"):
        storage.write_table(uri, table)
        return
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(_without_formulas(_flat(table)), sink)
    storage.write_bytes(uri, sink.getvalue().to_pybytes())


def _without_formulas(table: pa.Table) -> pa.Table:
    for at, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            texts = [text if text is None else harmless(text) for text in table[field.name].to_pylist()]
            table = table.set_column(at, field, pa.array(texts, field.type))
    return table.rename_columns([harmless(name) for name in table.column_names])


def _flat(table: pa.Table) -> pa.Table:
    if "embedding" not in table.column_names:
        return table
    length = pc.max(pc.list_value_length(table["embedding"])).as_py() or 0
    values = [row or [None] * length for row in table["embedding"].to_pylist()]
    columns = {f"embedding_{d}": pa.array([row[d] for row in values], pa.float32()) for d in range(length)}
    table = table.drop_columns(["embedding"])
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


def file_table(rows: pa.Table, meta: dict, classes: Sequence[str] = ()) -> pa.Table:
    """rows: of `pipeline.students.file_prediction.ROWS_SCHEMA`; meta: of the student; classes: of the head, if one was used.

    file, reject_reason, reject_detail, seconds, emotion, the eight raw probabilities, emotion_corrected, the eight
    corrected ones (NAME_corrected; null for a student without a prior), head_emotion, head_CLASS, clipped (share of the
    samples at full scale), embedding. All after reject_detail is null in a reject, which has a reason.
    """
    columns = {name: rows[name] for name in ("file", "reject_reason", "reject_detail", "seconds")}
    columns |= _answers(_matrix(rows["probabilities"], len(EMOTIONS)), meta)
    columns |= _head_columns(_matrix(rows["head"], len(classes)), classes)
    return pa.table(columns | {"clipped": rows["clipped"], "embedding": rows["embedding"]})


def timeline_table(rows: pa.Table, meta: dict, classes: Sequence[str] = ()) -> pa.Table:
    """file, start_s, end_s, and the answers as in `file_table`, null in a silent window; rejected files have no rows."""
    heard = rows.filter(pc.is_null(rows["reject_reason"]))
    windows = pc.list_value_length(heard["window_start_s"]).to_numpy()
    files = heard["file"].take(pa.array(np.repeat(np.arange(len(heard)), windows)))
    columns = {
        "file": files,
        "start_s": _flattened(heard["window_start_s"]),
        "end_s": _flattened(heard["window_end_s"]),
    }
    columns |= _answers(_flattened(heard["window_probabilities"]).reshape(-1, len(EMOTIONS)), meta)
    if classes:
        columns |= _head_columns(_flattened(heard["window_head"]).reshape(-1, len(classes)), classes)
    return pa.table(columns)


def _flattened(column: pa.ChunkedArray) -> np.ndarray:
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False)


def _matrix(column: pa.ChunkedArray, width: int) -> np.ndarray:
    """(N, width), NaN where the row has none."""
    nothing = [np.nan] * width
    return np.array([row or nothing for row in column.to_pylist()], np.float64).reshape(len(column), width)


def _answers(probabilities_NE: np.ndarray, meta: dict) -> dict[str, pa.Array]:
    columns = _named(probabilities_NE, EMOTIONS, "emotion", "{}")
    if meta.get("prior") is None:
        without_NE = np.full(probabilities_NE.shape, np.nan)
    else:
        without_NE = corrected(probabilities_NE, np.array(meta["prior"]), meta.get("prior_strength", 1.0))
    return columns | _named(without_NE, EMOTIONS, f"emotion{CORRECTED}", f"{{}}{CORRECTED}")


def _head_columns(probabilities_NK: np.ndarray, classes: Sequence[str]) -> dict[str, pa.Array]:
    return _named(probabilities_NK, classes, f"{HEAD}emotion", f"{HEAD}{{}}") if classes else {}


def _named(probabilities_NK: np.ndarray, names: Sequence[str], best: str, each: str) -> dict[str, pa.Array]:
    """The likeliest name, then a column a name; null where the row is NaN."""
    known_N = np.all(np.isfinite(probabilities_NK), axis=1)
    likeliest_N = np.where(known_N[:, None], probabilities_NK, 0).argmax(1)
    columns = {best: pa.array([names[k] for k in likeliest_N], pa.string(), mask=~known_N)}
    for k, name in enumerate(names):
        values_N = probabilities_NK[:, k].astype(np.float32)
        columns[each.format(name)] = pa.array(values_N, mask=~known_N)
    return columns
