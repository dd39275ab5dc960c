"""The forms of export, by the names that `--format` takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from pipeline.label_export.huggingface import ParquetShard
from pipeline.label_export.plan import Layout
from pipeline.label_export.rows import COLUMNS, SOUND_COLUMNS
from pipeline.label_export.table import CsvShard
from pipeline.label_export.webdataset import TarShard

CSV_ROWS = 500_000
"""About 100 MB."""


class Shard(Protocol):
    """A file that is being made."""

    def add(self, rows: pa.Table) -> None: ...

    def content(self) -> bytes:
        """All of it; nothing can be added afterwards."""
        ...


@dataclass(frozen=True)
class Form:
    """shard: begins a file, for a temperature; columns: of the set, that it needs."""

    layout: Layout
    columns: Sequence[str]
    shard: Callable[[float], Shard]


def form_of(name: str, samples_a_file: int) -> Form:
    """samples_a_file: most samples of speech in a file with sound; as FLAC, a sample takes about a byte."""
    if name == "csv":
        return Form(Layout("labels-{number:05d}-of-{of:05d}.csv", CSV_ROWS, False, False), COLUMNS, CsvShard)
    if name == "webdataset":
        return Form(Layout("{split}-{number:06d}.tar", samples_a_file, True, True), SOUND_COLUMNS, TarShard)
    assert name == "huggingface", name
    layout = Layout("data/{split}-{number:05d}-of-{of:05d}.parquet", samples_a_file, True, True)
    return Form(layout, SOUND_COLUMNS, ParquetShard)
