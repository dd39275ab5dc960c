"""Files like the authors' in both kinds of MAT: every wav's logits come back, and whatever is not such a file is one clear line.

References are SciPy's writer for version 5, and for 7.3 h5py with MATLAB's conventions.
"""

import hashlib
import struct

import h5py
import numpy as np
import pytest
import scipy.io

from cluster.failures import UserError
from modeling.emotions import EMOTIONS
from pipeline.importing.published_logits import published_logits
from tests.support.mat_files import NOTHING, WRITERS, cells, contents, formula, write_mat5

SOME = {
    "A.J._Buckley/Y8hIVOBuels_0000001.wav": formula(0, 3.0),
    "id10002/video000001/00002.wav": formula(1, 145.0),
    "id10003/wörld_é😀/00001.wav": formula(2, 0.24),
    "id10004/eight/00001.wav": np.arange(64, dtype=np.float32).reshape(8, 8),
    "id10005/nothing/00001.wav": NOTHING,
    "id10006/nothing/00002.wav": np.zeros((0, 8), np.float32),
}
SETS = [1, 2, 3, 1, 1, 1]


def read(path) -> tuple[list[str], list[str], list[np.ndarray], str]:
    with published_logits(str(path)) as found:
        logits = [np.array(found.of_wav(number)) for number in range(len(found.names))]
        return found.names, found.splits, logits, found.sha256


def problem_of(path) -> str:
    with pytest.raises(UserError) as problem, published_logits(str(path)):
        pass
    assert str(path) in str(problem.value) and "\n" not in str(problem.value)
    return str(problem.value)


@pytest.mark.parametrize("kind", WRITERS)
def test_names_splits_and_logits_come_back(tmp_path, kind):
    names, splits, logits, _ = read(WRITERS[kind](tmp_path / "a.mat", contents(SOME, SETS)))
    assert names == list(SOME)
    assert splits == ["train", "unheard", "heard", "train", "train", "train"]
    for (name, expected), found in zip(SOME.items(), logits, strict=True):
        assert np.array_equal(found, expected.reshape(-1, len(EMOTIONS))), name


def test_the_order_of_the_emotions_is_the_authors():
    """teacher_stats.m of mcnCrossModalEmotions, `ferPlusEmotions`."""
    authors = "Neutral Happiness Surprise Sadness Anger Disgust Fear Contempt"
    assert list(EMOTIONS) == authors.lower().split()


def test_the_hash_is_that_of_the_file(tmp_path):
    path = write_mat5(tmp_path / "a.mat", contents(SOME, SETS))
    assert read(path)[3] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_double_logits_and_a_file_of_the_other_byte_order_are_read(tmp_path):
    """SciPy writes in this machine's order alone: the two fields of one tiny file are turned by hand."""
    doubles = {name: logits.astype(np.float64) for name, logits in SOME.items()}
    names, _, logits, _ = read(write_mat5(tmp_path / "a.mat", contents(doubles, SETS)))
    assert np.array_equal(logits[0], SOME[names[0]])
    big = tmp_path / "big.mat"
    big.write_bytes(_big_endian("name/video/00001.wav", formula(5, 0.48)))
    assert scipy.io.loadmat(big)["wavLogits"][0, 0].shape == (2, 8)
    names, _, logits, _ = read(big)
    assert names == ["name/video/00001.wav"] and np.array_equal(logits[0], formula(5, 0.48))


def _big_endian(name: str, logits: np.ndarray) -> bytes:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def matrix(kind: int, shape: tuple, data: bytes, called: str = "") -> bytes:
        head = element(6, struct.pack(">II", kind, 0)) + element(5, struct.pack(">ii", *shape))
        return element(14, head + element(1, called.encode()) + data)

    text = matrix(4, (1, len(name)), element(4, name.encode("utf-16-be")))
    fields = element(5, struct.pack(">i", 32)) + element(1, b"name".ljust(32, b"\0") + b"set".ljust(32, b"\0"))
    fields += matrix(1, (1, 1), text) + matrix(6, (1, 1), element(2, b"\1"))
    cell = matrix(7, logits.shape, element(7, logits.astype(">f4").tobytes(order="F")))
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI"
    return header + matrix(2, (1, 1), fields, "images") + matrix(1, (1, 1), cell, "wavLogits")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7, 0.999])
def test_a_file_that_is_cut_is_one_line(tmp_path, kind, share):
    whole = WRITERS[kind](tmp_path / "whole.mat", contents(SOME, SETS, frames=300)).read_bytes()
    cut = tmp_path / "cut.mat"
    cut.write_bytes(whole[: int(share * len(whole))])
    problem_of(cut)


@pytest.mark.parametrize("kind", WRITERS)
def test_damaged_bytes_are_one_line_or_change_no_label(tmp_path, kind):
    """zlib has a checksum; the other two kinds have none, so that a changed number alone cannot be told."""
    whole = WRITERS[kind](tmp_path / "whole.mat", contents(SOME, SETS)).read_bytes()
    damaged, rng, refused = tmp_path / "damaged.mat", np.random.default_rng(7), 0
    for _ in range(150):
        content = bytearray(whole)
        for at in rng.integers(128, len(whole), 3):
            content[at] ^= int(rng.integers(1, 256))
        damaged.write_bytes(content)
        try:
            names, splits, logits, _ = read(damaged)
        except UserError:
            refused += 1
            continue
        assert len(names) == len(splits) == len(logits) == len(SOME)
        if kind == "version 5, compressed":
            assert all(
                np.array_equal(found, SOME[name].reshape(-1, 8)) for name, found in zip(names, logits, strict=True)
            )
    assert refused > 10


ONE = {"id10001/v/00001.wav": formula(0, 3)}
PLAIN = contents(ONE)
OTHERS = {
    "it has no images and no wavLogits, but faceLogits": {"faceLogits": np.ones((2, 8))},
    "it has no wavLogits, but images": {"images": PLAIN["images"]},
    "is 8 x 12 float32 and not n x 8": contents({name: logits.T for name, logits in ONE.items()}),
    "no cell array `name`": {**PLAIN, "images": {**PLAIN["images"], "name": np.ones((1, 1))}},
    "images.name{1} is empty": {**PLAIN, "images": {**PLAIN["images"], "name": cells([""])}},
    "is 4 and not 1, 2 or 3": contents(ONE, [4]),
    "wavLogits has more cells than the 1 of images.name": {**PLAIN, "wavLogits": cells([formula(0, 3), NOTHING])},
    "wavLogits has 0 cells, fewer": {**PLAIN, "wavLogits": cells([])},
    "wavLogits is no cell array": {**PLAIN, "wavLogits": np.ones((3, 8))},
    "wavLogits{1} is no matrix": {**PLAIN, "wavLogits": cells([cells(["a", "b"])])},
    "images is no struct of one element": {**PLAIN, "images": np.ones((3, 8))},
    "images has 1 names and 2 sets": {**PLAIN, "images": {**PLAIN["images"], "set": np.ones((1, 2))}},
}
"""What the line says -> the file's content."""


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("said", OTHERS)
def test_a_file_of_another_shape_or_project_is_one_line(tmp_path, kind, said):
    problem = problem_of(WRITERS[kind](tmp_path / "other.mat", OTHERS[said]))
    assert said in problem and "senet50-ferplus-logits.mat" in problem


@pytest.mark.parametrize("content", [b"not a MAT file\n" * 100, bytes(4096), b""])
def test_a_file_that_is_no_mat_file_is_one_line(tmp_path, content):
    path = tmp_path / "other.mat"
    path.write_bytes(content)
    assert "no MAT file of version 5 or 7.3" in problem_of(path)


def test_a_missing_file_and_a_folder_are_one_line(tmp_path):
    assert "a folder" in problem_of(tmp_path)
    problem_of(tmp_path / "nothing.mat")


def test_a_file_of_hdf5_that_no_matlab_wrote_is_one_line(tmp_path):
    path = tmp_path / "other.mat"
    with h5py.File(path, "w") as file:
        file["images/name"] = np.zeros((3, 1))
        file["wavLogits"] = np.zeros((3, 8), np.float32)
    assert "no cell array `name`" in problem_of(path)
