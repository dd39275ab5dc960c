"""The logits that the authors of the paper published: `senet50-ferplus-logits.mat`, as fetch_emovoxceleb_imdb.m of albanie's
mcnCrossModalEmotions (`buildImdb`) writes and names it.

`images.name` holds the wavs, `images.set` their split, and `wavLogits`, a cell for each wav in the same order, the teacher's
logits: n x 8, a row a picture, every sixth of 25 a second. `images.denseFrames`, five million paths of pictures, is not read.

Shape letters: W wavs, N pictures of one, E = 8 emotions in the order of `modeling.emotions` (teacher_stats.m).
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from tqdm import tqdm

from cluster import storage
from cluster.failures import UserError
from cluster.temporary_folders import temporary_folder
from modeling.emotions import EMOTIONS
from pipeline.importing.mat5 import Mat5File
from pipeline.importing.mat73 import Mat73File, is_hdf5
from pipeline.importing.mat_file import MatFile, MatProblem

SPLIT_OF_SET = {1: "train", 2: "unheard", 3: "heard"}
"""generateBaseImdb.m: 1 is train, with what was the validation of another paper; 2 is "test (US-UH)", 250 speakers who are in
no other set; 3 is "test (S-H)", other recordings of speakers in train. run_distillation.m watches 2 while it trains, and
student_stats.m calls 2 and 3 unheardVal and heardVal."""

ROW_BYTES = 4 * len(EMOTIONS)
EXPECTED = (
    "expected is senet50-ferplus-logits.mat of mcnCrossModalEmotions: a struct `images` with `name` and `set`, and a cell array "
    "`wavLogits` with an n x 8 matrix for each name"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PublishedLogits:
    """names: of the wavs, as in the file; splits: of ours; sha256: of the file.

    Wav k has the rows `starts_W[k]` to `starts_W[k + 1]` of the logits, which lie in a temporary file.
    """

    names: list[str]
    splits: list[str]
    sha256: str
    starts_W: np.ndarray = field(repr=False)
    logits: BinaryIO = field(repr=False)

    def of_wav(self, number: int) -> np.ndarray:
        """logits_NE, float32; N is 0 for an empty cell. Not to be called by two threads."""
        start, end = self.starts_W[number : number + 2].tolist()
        self.logits.seek(start * ROW_BYTES)
        data = self.logits.read((end - start) * ROW_BYTES)
        return np.frombuffer(data, np.float32).reshape(end - start, len(EMOTIONS))


@contextlib.contextmanager
def published_logits(uri: str) -> Generator[PublishedLogits]:
    """Reads the file, of version 5 or 7.3, a path or URI. The logits are there during the block.

    Memory is that of names and splits, whatever the file's size. Raises UserError for any other file, and a damaged one.
    """
    if storage.is_folder(uri):
        raise UserError(f"{uri} is a folder; give the file senet50-ferplus-logits.mat")
    with storage.local_copy(uri) as path, temporary_folder() as folder:
        with storage.explained(uri, "read it"), open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        try:
            with open(os.path.join(folder, "logits.f32"), "w+b") as spool:
                with contextlib.closing(_opened(path)) as mat:
                    found = _read(mat, spool, sha256)
                yield found
        except MatProblem as problem:
            raise UserError(f"{uri}: {problem}; {EXPECTED}: fetch it again") from problem


def _opened(path: str) -> MatFile:
    return Mat73File(path) if is_hdf5(path) else Mat5File(path)


def _read(mat: MatFile, spool: BinaryIO, sha256: str) -> PublishedLogits:
    if missing := {"images", "wavLogits"} - set(mat.variables):
        have = ", ".join(sorted(mat.variables)[:8]) or "nothing"
        raise MatProblem(f"it has no {' and no '.join(sorted(missing))}, but {have}")
    images = mat.struct("images", ("name", "set"))
    names, sets = images.get("name"), images.get("set")
    if not isinstance(names, list) or not isinstance(sets, np.ndarray):
        raise MatProblem("images has no cell array `name` of texts and no numbers `set`")
    if not names or sets.size != len(names):
        raise MatProblem(f"images has {len(names)} names and {sets.size} sets")
    if "" in names:
        raise MatProblem(f"images.name{{{names.index('') + 1}}} is empty")
    starts_W = _spooled(mat, spool, names)
    return PublishedLogits(names, _splits(sets.ravel(), names), sha256, starts_W, spool)


def _splits(sets_W: np.ndarray, names: list[str]) -> list[str]:
    if wrong := [k for k, number in enumerate(sets_W.tolist()) if number not in SPLIT_OF_SET]:
        raise MatProblem(f"images.set of {names[wrong[0]]} is {sets_W[wrong[0]]:g} and not 1, 2 or 3")
    return [SPLIT_OF_SET[int(number)] for number in sets_W]


def _spooled(mat: MatFile, spool: BinaryIO, names: list[str]) -> np.ndarray:
    """Writes the rows of all cells into a file, one behind the other. Returns where each wav begins, and the end."""
    counts: list[int] = []
    for cell in tqdm(mat.cells("wavLogits"), "reading logits", len(names), unit="wavs", disable=None):
        number = len(counts)
        if cell.size and (cell.shape[1] != len(EMOTIONS) or cell.dtype.kind != "f"):
            shape = " x ".join(map(str, cell.shape))
            raise MatProblem(f"wavLogits{{{number + 1}}} is {shape} {cell.dtype} and not n x {len(EMOTIONS)} single")
        if number == len(names):
            raise MatProblem(f"wavLogits has more cells than the {len(names)} of images.name")
        rows = len(cell) if cell.size else 0
        with storage.explained(spool.name, "write it"):
            spool.write(np.ascontiguousarray(cell[:rows], np.float32).tobytes())
        counts.append(rows)
    if len(counts) != len(names):
        raise MatProblem(f"wavLogits has {len(counts)} cells, fewer than the {len(names)} of images.name")
    return np.append(0, np.cumsum(counts, dtype=np.int64))
