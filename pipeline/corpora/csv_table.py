"""Corpus `csv`: any table with the columns file (relative to the CSV), speaker and emotion; other columns are ignored."""

import csv
import io
import os.path
import posixpath

from cluster import storage
from cluster.failures import UserError
from pipeline.corpora.clip import CorpusClip
from pipeline.rejects import RejectReason

COLUMNS = ("file", "speaker", "emotion")
EXPECTS = "a CSV file, UTF-8, comma-separated, whose header has the columns file, speaker and emotion"


def read_csv_corpus(csv_uri: str) -> list[CorpusClip]:
    """One clip a row, in order. Raises UserError for a table that cannot be read as meant."""
    rows = _rows(csv_uri)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    if missing := [name for name in COLUMNS if name not in header]:
        raise UserError(f"{csv_uri}: columns {missing} are missing, its header is {header}; give {EXPECTS}")
    if repeated := sorted({name for name in COLUMNS if header.count(name) > 1}):
        raise UserError(f"{csv_uri}: columns {repeated} are there more than once; leave one of each")
    clips = [_clip(csv_uri, line, header, row) for line, row in rows if any(field.strip() for field in row)]
    if not clips:
        raise UserError(f"{csv_uri}: there is a header but no row below it; add a row for each clip")
    return clips


def _rows(csv_uri: str):
    """(line, fields) of every row. Raises UserError where the text is not UTF-8 or not CSV."""
    try:
        text = storage.read_bytes(csv_uri).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        for row in reader:
            yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise UserError(f"{csv_uri}: not UTF-8 text at byte {error.start}; save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{csv_uri}, line {reader.line_num}: not CSV ({error}); mend the quotes there") from error


def _clip(csv_uri: str, line: int, header: list[str], row: list[str]) -> CorpusClip:
    place = f"line {line} of the CSV"
    if len(row) != len(header):
        detail = f"{place} has {len(row)} fields, the header {len(header)}; quote a field that holds a comma"
        return CorpusClip(
            file=row[0].strip(), uri="", reject_reason=RejectReason.DAMAGED_ROW.value, reject_detail=detail
        )
    fields = {name: row[header.index(name)].strip() for name in COLUMNS}
    empty = [name for name in COLUMNS if not fields[name]]
    uri = _beside(csv_uri, fields["file"]) if fields["file"] else ""
    if empty:
        detail = f"{place}: {' and '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty"
        return CorpusClip(file=fields["file"], uri=uri, reject_reason=RejectReason.NO_LABEL.value, reject_detail=detail)
    return CorpusClip(**fields, uri=uri, recording=uri)


def _beside(csv_uri: str, file: str) -> str:
    """Where a file of the table is; an absolute path or an s3:// URI stands for itself."""
    if "://" in file:
        return storage.absolute(file)
    if storage.is_local(csv_uri):
        return os.path.normpath(os.path.join(os.path.dirname(csv_uri), file))
    scheme, _, folder = posixpath.dirname(csv_uri).partition("://")
    return f"{scheme}://{posixpath.normpath(posixpath.join(folder, file))}"
