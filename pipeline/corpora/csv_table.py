"""Tables of clips as CSV files, and corpus `csv`: any table with the columns file (relative to the CSV), speaker and emotion."""

import csv
import io
import os.path
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cluster import storage
from cluster.failures import UserError
from pipeline.corpora.clip import CorpusClip
from pipeline.names import one_form
from pipeline.rejects import RejectReason

COLUMNS = ("file", "speaker", "emotion")


@dataclass(frozen=True)
class TableRow:
    """A row that is not empty. line: of the file, where the row ends; values: as many as it has, without outer spaces."""

    line: int
    header: tuple[str, ...]
    values: tuple[str, ...]

    def value(self, column: str) -> str:
        """Empty where the row is too short."""
        index = self.header.index(column)
        return self.values[index] if index < len(self.values) else ""

    def name(self, column: str) -> str:
        """A value that names a class or a person, in one form."""
        return one_form(self.value(column))


def read_csv_table(csv_uri: str, columns: Sequence[str]) -> list[TableRow]:
    """The rows of a table that has at least these columns; others are ignored.

    Raises UserError where the text is not UTF-8 or not CSV, or a column is missing or there twice.
    """
    rows = _rows(csv_uri)
    header = next(rows, (0, ()))[1]
    if missing := [name for name in columns if name not in header]:
        expects = f"a CSV file, UTF-8, comma-separated, whose header has the columns {', '.join(columns)}"
        raise UserError(f"{csv_uri}: columns {missing} are missing, its header is {list(header)}; give {expects}")
    if repeated := sorted({name for name in columns if header.count(name) > 1}):
        raise UserError(f"{csv_uri}: columns {repeated} are there more than once; leave one of each")
    return [TableRow(line, header, values) for line, values in rows if any(values)]


def _rows(csv_uri: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, fields without outer spaces) of every row."""
    try:
        text = storage.read_bytes(csv_uri).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{csv_uri}: not UTF-8 text at byte {error.start}; save it as UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)  # a quote may follow a space
    try:
        for row in reader:
            yield reader.line_num, tuple(field.strip() for field in row)
    except csv.Error as error:
        raise UserError(f"{csv_uri}, line {reader.line_num}: not CSV ({error}); correct the quotes there") from error


def read_csv_corpus(csv_uri: str) -> list[CorpusClip]:
    """One clip a row, in order. Raises UserError for a table that cannot be read as meant."""
    clips = [_clip(csv_uri, row) for row in read_csv_table(csv_uri, COLUMNS)]
    if not clips:
        raise UserError(f"{csv_uri}: there is a header but no row below it; add a row for each clip")
    return clips


def _clip(csv_uri: str, row: TableRow) -> CorpusClip:
    if len(row.values) != len(row.header):
        detail = f"line {row.line} of the CSV has {len(row.values)} fields, the header {len(row.header)}"
        return CorpusClip(
            file=row.values[0],
            uri="",
            reject_reason=RejectReason.DAMAGED_ROW.value,
            reject_detail=f"{detail}; quote a field that holds a comma",
        )
    file, speaker, emotion = row.value("file"), row.name("speaker"), row.name("emotion")
    uri = beside(csv_uri, file) if file else ""
    if empty := [name for name, value in zip(COLUMNS, (file, speaker, emotion), strict=True) if not value]:
        detail = f"line {row.line} of the CSV: {' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty"
        return CorpusClip(file=file, uri=uri, reject_reason=RejectReason.NO_LABEL.value, reject_detail=detail)
    return CorpusClip(file=file, uri=uri, speaker=speaker, emotion=emotion, recording=uri)


def beside(csv_uri: str, file: str) -> str:
    """Where a file of the table is; an absolute path or an s3:// URI stands for itself."""
    if "://" in file:
        return storage.absolute(file)
    if storage.is_local(csv_uri):
        return os.path.normpath(os.path.join(os.path.dirname(storage.absolute(csv_uri)), file))
    scheme, _, folder = posixpath.dirname(csv_uri).partition("://")
    return f"{scheme}://{posixpath.normpath(posixpath.join(folder, file))}"
