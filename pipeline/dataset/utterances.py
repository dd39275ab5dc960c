"""The utterances of a set that a student can use, as a filter of tables and as a Ray dataset."""

import pyarrow.compute as pc
import ray.data
from ray.data.expressions import Expr, col

from cluster import storage
from pipeline.dataset.distillation_set import part_uris

FILTER_COLUMNS = ["split", "reject_reason", "speech_samples"]


USABLE = pc.field("reject_reason").is_null() & (pc.field("speech_samples") > 0)
"""Utterances that a student can learn from or be scored on: labelled, and with speech. For a pyarrow table."""


def usable() -> Expr:
    """The same as `USABLE`, for a Ray dataset."""
    return col("reject_reason").is_null() & (col("speech_samples") > 0)


def read_utterances(labels_uri: str, columns: list[str], wanted: Expr) -> ray.data.Dataset:
    """Some columns of the wanted rows of a set; Ray reads no other columns and prunes parts by their statistics."""
    fs, _ = storage.resolve(labels_uri)
    paths = [storage.resolve(uri)[1] for uri in part_uris(labels_uri)]
    read = list(dict.fromkeys([*columns, *FILTER_COLUMNS]))
    return ray.data.read_parquet(paths, filesystem=fs).select_columns(read).filter(expr=wanted).select_columns(columns)
