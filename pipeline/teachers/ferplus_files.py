"""Reads FER+ in each of its forms: parquet, the two CSV files, Microsoft's picture folders.

Shape letters: N rows, H = W = 48 pixels, V = 10 vote columns.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from cluster import storage
from cluster.failures import UserError
from modeling.emotions import EMOTIONS
from modeling.faces.ferplus import SIDE_PX, VOTE_COLUMNS, FaceSet

USAGES = {"train": "Training", "valid": "PublicTest", "test": "PrivateTest"}
"""Split -> its name in the column Usage of the two CSV files (github.com/microsoft/FERPlus, README)."""
FOLDERS = {"train": "FER2013Train", "valid": "FER2013Valid", "test": "FER2013Test"}
"""Split -> its folder in Microsoft's form (microsoft/FERPlus, README)."""
FACES_CSV, VOTES_CSV, LABELS_CSV = "fer2013.csv", "fer2013new.csv", "label.csv"
CSV_VOTES = (*EMOTIONS, "unknown", "NF")
FORMS = f"""FER+ is read from
  a parquet file with columns png and {", ".join(VOTE_COLUMNS)} (split may name each row's split),
  a folder with train.parquet, valid.parquet, test.parquet (or some of them) of that kind,
  a folder with {FACES_CSV} and {VOTES_CSV},
  a folder with {", ".join(FOLDERS.values())} (or some of them), each with {LABELS_CSV} and its pictures"""

READ_THREADS = 32
"""Pictures of Microsoft's folders that are read at once; an object store answers many requests in parallel."""

MOST_PICTURE_BYTES = 64 * 2**10
"""As many hold 48 x 48 pixels in any format, and no picture bomb: PNG packs a thousand to one at most."""

Place = Callable[[int], str]
"""Row -> its name in an error, such as line 7 of a text file or row 5 of a table."""


def read_faces(uri: str | Path, split: str | None = None) -> FaceSet:
    """All faces and votes of a file or folder (a local path or s3:// URI), or those of one split: train, valid, test.

    If a folder holds several forms, the first of `FORMS` is read. Raises a UserError that names the file and the wrong row
    or line, or, for a missing split, the splits that are there.
    """
    if split not in (None, *USAGES):
        raise UserError(f"split {split!r} is not known; give one of {list(USAGES)}")
    uri = storage.absolute(uri)
    if storage.is_folder(uri):
        return _read_folder(uri, split)
    if uri.lower().endswith(".csv"):
        return read_csv_pair(uri, storage.join(uri.rpartition("/")[0], VOTES_CSV), split)
    return read_parquet(uri, split)


def read_split(uri: str, split: str) -> FaceSet:
    """The faces of one split if the data has splits; all faces of a parquet file without splits."""
    uri = storage.absolute(uri)
    if storage.is_folder(uri) or uri.lower().endswith(".csv") or "split" in storage.read_table(uri).column_names:
        return read_faces(uri, split)
    return read_parquet(uri)


def _read_folder(uri: str, split: str | None) -> FaceSet:
    def present(*names: str) -> bool:
        return all(storage.exists(storage.join(uri, name)) for name in names)

    if tables := {name: f"{name}.parquet" for name in USAGES if present(f"{name}.parquet")}:
        return _joined(uri, tables, read_parquet, split)
    if present(FACES_CSV, VOTES_CSV):
        return read_csv_pair(storage.join(uri, FACES_CSV), storage.join(uri, VOTES_CSV), split)
    if folders := {name: folder for name, folder in FOLDERS.items() if present(storage.join(folder, LABELS_CSV))}:
        return _joined(uri, folders, read_picture_folder, split)
    if present(LABELS_CSV):
        if split and FOLDERS[split] != uri.rpartition("/")[2]:
            raise UserError(f"{uri}: there is no split {split!r}; that is the folder {FOLDERS[split]}")
        return read_picture_folder(uri)
    if found := [name for name in (FACES_CSV, VOTES_CSV) if present(name)]:
        raise UserError(f"{uri}: holds only {found[0]}; put {FACES_CSV} and {VOTES_CSV} side by side")
    raise UserError(f"{uri}: holds no known form of FER+. {FORMS}")


def _joined(uri: str, names: dict[str, str], read: Callable[[str], FaceSet], split: str | None) -> FaceSet:
    """The faces of one split, or of all. names: split -> its file or folder."""
    if split and split not in names:
        raise UserError(f"{uri}: there is no split {split!r}; there are {list(names.values())}")
    wanted = [names[split]] if split else names.values()
    parts = [read(storage.join(uri, name)) for name in wanted]
    return FaceSet(
        np.concatenate([part.images_NHW for part in parts]), np.concatenate([part.votes_NV for part in parts])
    )


def read_parquet(uri: str, split: str | None = None) -> FaceSet:
    """Reads the column `png` (the encoded picture), the columns `VOTE_COLUMNS` and, if a split is asked for, `split`."""
    table = storage.read_table(uri)
    _check_table(uri, table, ("png", *VOTE_COLUMNS) + (("split",) if split else ()))
    if not (pa.types.is_binary(table["png"].type) or pa.types.is_large_binary(table["png"].type)):
        raise UserError(f"{uri}: column png holds {table['png'].type}; it must hold the bytes of encoded pictures")

    def place(row: int) -> str:
        return f"{uri}, row {row}"

    keep_N = _rows_of_split(uri, table["split"], split) if split else np.ones(len(table), bool)
    table, rows = table.filter(keep_N), np.flatnonzero(keep_N).tolist()
    votes_NV = _votes(table, VOTE_COLUMNS, lambda i: place(rows[i]))
    pictures = zip(table["png"], rows, strict=True)
    return FaceSet(np.stack([_decoded(png.as_py(), place(row)) for png, row in pictures]), votes_NV)


def read_csv_pair(faces_uri: str, votes_uri: str, split: str | None = None) -> FaceSet:
    """fer2013.csv (emotion, pixels, Usage) and fer2013new.csv (Usage, Image name, ten votes), which agree row by row.

    A row without an image name (FER+'s authors removed the picture) is kept, because the paper keeps it if its votes pass.
    """
    faces, votes = _read_csv(faces_uri), _read_csv(votes_uri)
    _check_table(faces_uri, faces, ("pixels", "Usage"))
    _check_table(votes_uri, votes, ("Usage", *CSV_VOTES))
    if len(faces) != len(votes):
        raise UserError(
            f"{faces_uri} has {len(faces)} rows and {votes_uri} has {len(votes)}; they must be whole and of one order"
        )
    differs_N = pc.not_equal(faces["Usage"], votes["Usage"]).to_numpy()
    if differs_N.any():
        row = int(differs_N.argmax())
        raise UserError(
            f"{votes_uri}, line {row + 2}: Usage is {votes['Usage'][row]}, but {faces['Usage'][row]} in {faces_uri}; "
            "both files must have the order in which they were published"
        )
    keep_N = _rows_of_split(faces_uri, faces["Usage"], USAGES[split]) if split else np.ones(len(faces), bool)
    lines = np.flatnonzero(keep_N) + 2  # counted from 1, after the header
    votes_NV = _votes(votes.filter(keep_N), CSV_VOTES, lambda i: f"{votes_uri}, line {lines[i]}")
    return FaceSet(_pixels(faces["pixels"].filter(keep_N), lambda i: f"{faces_uri}, line {lines[i]}"), votes_NV)


def read_picture_folder(uri: str) -> FaceSet:
    """One of Microsoft's folders: label.csv (name, box, ten votes; no header) and the pictures it names.

    The box is not used: it is the whole picture in every published row.
    """
    labels_uri = storage.join(uri, LABELS_CSV)
    table = _read_csv(labels_uri, ["name", "box", *CSV_VOTES])

    def place(row: int) -> str:
        return f"{labels_uri}, line {row + 1}"

    def read(row: int, name: str) -> np.ndarray:
        try:
            return _decoded(storage.read_bytes(storage.join(uri, name)), storage.join(uri, name))
        except UserError as error:
            raise UserError(f"{place(row)}: {error}; FER+'s generate_training_data.py writes the pictures") from error

    _check_table(labels_uri, table, CSV_VOTES)
    votes_NV = _votes(table, CSV_VOTES, place)
    with ThreadPoolExecutor(READ_THREADS) as pool:
        images = list(pool.map(read, range(len(table)), table["name"].to_pylist()))
    return FaceSet(np.stack(images), votes_NV)


def _read_csv(uri: str, names: list[str] | None = None) -> pa.Table:
    """All columns as text; `names` for a file without a header. Reads in one thread, so that errors name the row."""
    header = names or [*list(CSV_VOTES), "Usage", "pixels"]
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(storage.read_bytes(uri)),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, column_names=names),
            convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string())),
        )
    except pa.ArrowInvalid as error:
        raise UserError(f"{uri}: not a readable CSV file of FER+ ({error}); download it again") from error


def _check_table(uri: str, table: pa.Table, columns: Iterable[str]) -> None:
    if missing := [name for name in columns if name not in table.column_names]:
        raise UserError(f"{uri}: columns {missing} are missing, it has {table.column_names}. {FORMS}")
    if not len(table):
        raise UserError(f"{uri}: holds no rows; give a whole copy")


def _rows_of_split(uri: str, splits: pa.ChunkedArray, wanted: str) -> np.ndarray:
    """Mask (N,) of the rows whose split or Usage is `wanted`."""
    keep_N = pc.equal(splits, wanted).fill_null(False).to_numpy()
    if not keep_N.any():
        raise UserError(f"{uri}: there are no rows of {wanted}; it has rows of {splits.unique().to_pylist()}")
    return keep_N


def _votes(table: pa.Table, names: tuple[str, ...], place: Place) -> np.ndarray:
    """Vote counts (N, V) uint8 from columns of text or numbers."""
    checked = []
    for name in names:
        text = pc.utf8_trim_whitespace(table[name].cast(pa.string()))
        good_N = pc.match_substring_regex(text, "^(10|[0-9])$").fill_null(False).to_numpy()
        if not good_N.all():
            row = int(good_N.argmin())
            raise UserError(f"{place(row)}: {name} is {table[name][row]}; a vote count is a whole number from 0 to 10")
        checked.append(text.cast(pa.uint8()).to_numpy())
    return np.stack(checked, axis=1)


def _pixels(texts: pa.ChunkedArray, place: Place) -> np.ndarray:
    """Pictures (N, H, W) uint8 from texts of 2304 numbers."""

    def parse(chunk: pa.Array) -> np.ndarray:
        numbers = pc.ascii_split_whitespace(pc.ascii_trim_whitespace(chunk))
        if (pc.list_value_length(numbers).to_numpy() != SIDE_PX**2).any():
            raise pa.ArrowInvalid("wrong number of pixels")
        return pc.list_flatten(numbers).cast(pa.uint8()).to_numpy().reshape(-1, SIDE_PX, SIDE_PX)

    try:
        with ThreadPoolExecutor() as pool:
            return np.concatenate(list(pool.map(parse, texts.chunks)))
    except pa.ArrowInvalid:
        for row, text in enumerate(texts):
            try:
                parse(pa.array([text.as_py()]))
            except pa.ArrowInvalid as error:
                count = len(text.as_py().split())
                reason = error if count == SIDE_PX**2 else f"{count} pixels"
                raise UserError(
                    f"{place(row)}: {reason}; a picture is {SIDE_PX**2} whole numbers from 0 to 255"
                ) from error
        raise


def _decoded(png: bytes | None, place: str) -> np.ndarray:
    if png and len(png) > MOST_PICTURE_BYTES:
        raise UserError(
            f"{place}: the picture has {len(png)} bytes; FER+'s are {SIDE_PX}x{SIDE_PX} and have some thousand"
        )
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) if png else None
    if image is None:
        raise UserError(f"{place}: the picture does not open; repair it or leave its row out")
    if image.shape != (SIDE_PX, SIDE_PX):
        height, width = image.shape
        raise UserError(f"{place}: the picture is {width}x{height}; FER+'s are {SIDE_PX}x{SIDE_PX}")
    return image
