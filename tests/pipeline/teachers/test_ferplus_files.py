"""FER+ written in each form that people have is read back the same; what is wrong in a file is named."""

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.failures import UserError
from modeling.faces.ferplus import SIDE_PX, VOTE_COLUMNS, FaceSet
from pipeline.teachers.ferplus_files import CSV_VOTES, FOLDERS, USAGES, read_faces

ROWS = {"train": 120, "valid": 60, "test": 40}


@pytest.fixture(scope="module")
def real(data_dir) -> dict[str, FaceSet]:
    """220 rows of FER+ valid, cut into three splits; decoded here by PyArrow and OpenCV alone."""
    table = pq.read_table(data_dir / "ferplus" / "valid.parquet").slice(0, sum(ROWS.values()))
    images = np.stack(
        [cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) for png in table["png"].to_pylist()]
    )
    votes = table.select(VOTE_COLUMNS).to_pandas().to_numpy(np.uint8)
    ends = np.cumsum(list(ROWS.values()))
    return {
        split: FaceSet(images[end - n : end], votes[end - n : end])
        for (split, n), end in zip(ROWS.items(), ends, strict=True)
    }


def made(n: int = 3) -> dict[str, FaceSet]:
    """Random pictures, one set for each split."""
    rng = np.random.default_rng(0)
    return {
        split: FaceSet(rng.integers(0, 256, (n, SIDE_PX, SIDE_PX), np.uint8), rng.integers(0, 11, (n, 10), np.uint8))
        for split in ROWS
    }


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def write_parquet(path: Path, sets: dict[str, FaceSet]) -> None:
    faces = [(split, face, votes) for split, s in sets.items() for face, votes in zip(*vars(s).values(), strict=True)]
    columns = {"split": [split for split, _, _ in faces], "png": [png(face) for _, face, _ in faces]}
    votes = {name: pa.array([int(v[i]) for _, _, v in faces], pa.uint8()) for i, name in enumerate(VOTE_COLUMNS)}
    pq.write_table(pa.table(columns | votes), path)


def write_parquet_folder(folder: Path, sets: dict[str, FaceSet]) -> None:
    for split, faces in sets.items():
        write_parquet(folder / f"{split}.parquet", {split: faces})


def write_csv(folder: Path, sets: dict[str, FaceSet]) -> None:
    faces, votes = ["emotion,pixels,Usage"], ["Usage,Image name," + ",".join(CSV_VOTES)]
    for split, s in sets.items():
        for i, (face, counts) in enumerate(zip(s.images_NHW, s.votes_NV, strict=True)):
            faces.append(f"6,{' '.join(map(str, face.ravel()))},{USAGES[split]}")
            name = f"fer{i:07d}.png" if i else ""  # FER+'s authors removed some pictures
            votes.append(f"{USAGES[split]},{name}," + ",".join(map(str, counts)))
    (folder / "fer2013.csv").write_text("\n".join(faces) + "\n")
    (folder / "fer2013new.csv").write_text("\n".join(votes) + "\n")


def write_picture_folders(folder: Path, sets: dict[str, FaceSet]) -> None:
    for split, s in sets.items():
        (folder / FOLDERS[split]).mkdir()
        lines = []
        for i, (face, counts) in enumerate(zip(s.images_NHW, s.votes_NV, strict=True)):
            (folder / FOLDERS[split] / f"fer{i:07d}.png").write_bytes(png(face))
            lines.append(f'fer{i:07d}.png,"(0, 0, 48, 48)",' + ",".join(map(str, counts)))
        (folder / FOLDERS[split] / "label.csv").write_text("\n".join(lines) + "\n")


def write_one_parquet(folder: Path, sets: dict[str, FaceSet]) -> None:
    write_parquet(folder / "faces.parquet", sets)


FORMS = {
    "one parquet": (write_one_parquet, "faces.parquet"),
    "parquet folder": (write_parquet_folder, ""),
    "csv folder": (write_csv, ""),
    "csv file": (write_csv, "fer2013.csv"),
    "picture folders": (write_picture_folders, ""),
}


def same(ours: FaceSet, theirs: list[FaceSet]) -> bool:
    return np.array_equal(ours.images_NHW, np.concatenate([s.images_NHW for s in theirs])) and np.array_equal(
        ours.votes_NV, np.concatenate([s.votes_NV for s in theirs])
    )


@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_same_faces_and_votes(real, tmp_path, form):
    write, name = FORMS[form]
    write(tmp_path, real)
    assert same(read_faces(tmp_path / name), list(real.values()))
    for split, faces in real.items():
        assert same(read_faces(tmp_path / name, split), [faces])


@pytest.mark.parametrize("form", FORMS)
def test_a_split_that_is_absent_is_refused_with_what_is_there(tmp_path, form):
    write, name = FORMS[form]
    write(tmp_path, {"train": made()["train"]})
    assert len(read_faces(tmp_path / name, "train")) == 3
    with pytest.raises(UserError, match=r"(test|PrivateTest).*(train|Training|FER2013Train)"):
        read_faces(tmp_path / name, "test")
    with pytest.raises(UserError, match="split 'val' is not known; give one of .*'valid'"):
        read_faces(tmp_path / name, "val")


def test_one_of_microsofts_folders_alone(tmp_path):
    sets = made()
    write_picture_folders(tmp_path, sets)
    for split in (None, "valid"):
        assert same(read_faces(tmp_path / "FER2013Valid", split), [sets["valid"]])
    with pytest.raises(UserError, match="no split 'test'; that is the folder FER2013Test"):
        read_faces(tmp_path / "FER2013Valid", "test")


def test_a_parquet_without_a_split_column_and_with_coloured_pictures(tmp_path):
    """Grey pictures are often stored with three equal channels."""
    faces = made()["train"]
    colour = [png(np.repeat(face[..., None], 3, 2)) for face in faces.images_NHW]
    votes = {name: faces.votes_NV[:, i].astype(np.int64) for i, name in enumerate(VOTE_COLUMNS)}
    pq.write_table(pa.table({"png": colour} | votes), tmp_path / "faces.parquet")
    assert same(read_faces(tmp_path / "faces.parquet"), [faces])
    with pytest.raises(UserError, match=r"faces.parquet: columns \['split'\] are missing"):
        read_faces(tmp_path / "faces.parquet", "train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"neutral": None, "fear": None}, r"columns \['neutral', 'fear'\] are missing"),
        ({"png": None}, r"columns \['png'\] are missing"),
        ({"png": [b"x", b"y", b"z"]}, "row 0: the picture does not open"),
        ({"png": [png(np.zeros((48, 48), np.uint8)), None, b""]}, "row 1: the picture does not open"),
        ({"png": [png(np.zeros((64, 48), np.uint8))] * 3}, "row 0: the picture is 48x64; FER.'s are 48x48"),
        ({"png": ["a.png", "b.png", "c.png"]}, "column png holds string; it must hold the bytes"),
        ({"anger": [1, 2, 11]}, "row 2: anger is 11; a vote count is a whole number from 0 to 10"),
        ({"anger": [1, -2, 1]}, "row 1: anger is -2"),
        ({"anger": [0.5, 2.0, 1.0]}, "row 0: anger is 0.5"),
        ({"anger": [1, 2, None]}, "row 2: anger is None"),
    ],
)
def test_what_is_wrong_in_a_parquet_is_named(tmp_path, changes, message):
    write_parquet(tmp_path / "faces.parquet", {"train": made()["train"]})
    columns = pq.read_table(tmp_path / "faces.parquet").to_pydict() | changes
    pq.write_table(pa.table({name: values for name, values in columns.items() if values}), tmp_path / "faces.parquet")
    with pytest.raises(UserError, match=f"faces.parquet.*{message}"):
        read_faces(tmp_path / "faces.parquet")


def test_the_row_of_a_split_is_counted_in_the_whole_file(tmp_path):
    write_csv(tmp_path, made())
    lines = (tmp_path / "fer2013new.csv").read_text().splitlines()
    lines[5] = lines[5].rpartition(",")[0] + ",x"
    (tmp_path / "fer2013new.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match="fer2013new.csv, line 6: NF is x"):
        read_faces(tmp_path, "valid")
    assert len(read_faces(tmp_path, "train")) == 3


def edited(line: int, change):
    """An edit of one line of a file, counted from 1."""

    def edit(text: str) -> str:
        lines = text.splitlines()
        lines[line - 1] = change(lines[line - 1])
        return "\n".join(line for line in lines if line) + "\n"

    return edit


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        (
            "fer2013.csv",
            edited(1, lambda line: "emotion,pixel,Usage"),
            r"fer2013.csv: columns \['pixels'\] are missing",
        ),
        ("fer2013.csv", edited(3, lambda line: line.replace(" ", "", 1)), "fer2013.csv, line 3: 2303 pixels"),
        ("fer2013.csv", edited(4, lambda line: "6,," + line.rpartition(",")[2]), "fer2013.csv, line 4: 0 pixels"),
        ("fer2013.csv", edited(2, lambda line: "6,256 " + line.split(" ", 1)[1]), "line 2: .*'256'.*from 0 to 255"),
        ("fer2013.csv", edited(2, lambda line: "6,-1 " + line.split(" ", 1)[1]), "line 2: .*'-1'"),
        ("fer2013.csv", edited(2, lambda line: "6,1.5 " + line.split(" ", 1)[1]), "line 2: .*'1.5'"),
        ("fer2013.csv", edited(9, lambda line: ""), r"fer2013.csv has 8 rows and .*fer2013new.csv has 9"),
        ("fer2013.csv", edited(3, lambda line: line + ",1"), "fer2013.csv: not a readable CSV .*Row #3.*Expected 3"),
        ("fer2013.csv", lambda text: "", "fer2013.csv: not a readable CSV .*Empty"),
        ("fer2013.csv", lambda text: text.splitlines()[0] + "\n", "fer2013.csv: holds no rows"),
        (
            "fer2013new.csv",
            edited(4, lambda line: line.replace("Training", "PublicTest")),
            "fer2013new.csv, line 4: Usage is PublicTest, but Training in .*fer2013.csv",
        ),
        ("fer2013new.csv", edited(2, lambda line: line + "1"), "fer2013new.csv, line 2: NF is .*0 to 10"),
        ("fer2013new.csv", edited(1, lambda line: line[:-3] + ",x"), r"fer2013new.csv: columns \['NF'\] are missing"),
        ("fer2013new.csv", edited(3, lambda line: line.rpartition(",")[0]), "fer2013new.csv: .*Expected 12 columns"),
    ],
)
def test_what_is_wrong_in_the_csv_files_is_named(tmp_path, name, edit, message):
    write_csv(tmp_path, made() | {"train": FaceSet(made()["train"].images_NHW, np.full((3, 10), 1, np.uint8))})
    (tmp_path / name).write_text(edit((tmp_path / name).read_text()))
    with pytest.raises(UserError, match=message):
        read_faces(tmp_path)


@pytest.mark.parametrize("line", [2, 7])
def test_an_eleventh_vote_is_refused(tmp_path, line):
    write_picture_folders(tmp_path, made(8))
    label = tmp_path / "FER2013Train" / "label.csv"
    label.write_text(edited(line, lambda text: text + ",0")(label.read_text()))
    with pytest.raises(UserError, match=rf"label.csv: not a readable CSV.*Row #{line}.*Expected 12 columns, got 13"):
        read_faces(tmp_path, "train")


def test_what_is_wrong_in_a_picture_folder_is_named(tmp_path):
    write_picture_folders(tmp_path, made())
    folder = tmp_path / "FER2013Train"
    good = (folder / "label.csv").read_text()
    (folder / "label.csv").write_text(edited(2, lambda text: text[:-1] + "-1")(good))
    with pytest.raises(UserError, match="label.csv, line 2: NF is .*-1; a vote count"):
        read_faces(tmp_path)
    (folder / "label.csv").write_text("")
    with pytest.raises(UserError, match="FER2013Train/label.csv: not a readable CSV"):
        read_faces(tmp_path)
    (folder / "label.csv").write_text(good)
    (folder / "fer0000001.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match="label.csv, line 2: .*fer0000001.png: the picture does not open"):
        read_faces(tmp_path)
    (folder / "fer0000001.png").unlink()
    with pytest.raises(UserError, match="label.csv, line 2: .*fer0000001.png: not found; .*generate_training_data"):
        read_faces(tmp_path)


def test_what_is_no_form_of_ferplus_is_told_the_forms(tmp_path):
    with pytest.raises(UserError, match=r"holds no known form of FER\+[\s\S]*fer2013.csv[\s\S]*FER2013Train"):
        read_faces(tmp_path)
    write_csv(tmp_path, made())
    (tmp_path / "fer2013new.csv").unlink()
    with pytest.raises(UserError, match="holds only fer2013.csv; put fer2013.csv and fer2013new.csv side by side"):
        read_faces(tmp_path)
    with pytest.raises(UserError, match="fer2013new.csv: not found"):
        read_faces(tmp_path / "fer2013.csv")
    (tmp_path / "empty.parquet").write_bytes(b"")
    with pytest.raises(UserError, match="empty.parquet: not a readable parquet"):
        read_faces(tmp_path / "empty.parquet")
    write_one_parquet(tmp_path, {"train": made(0)["train"]})
    with pytest.raises(UserError, match="faces.parquet: holds no rows"):
        read_faces(tmp_path / "faces.parquet")
    with pytest.raises(UserError, match="nowhere: not found; check the path"):
        read_faces(tmp_path / "nowhere")


def test_a_picture_bomb_is_refused_before_it_is_unpacked(tmp_path):
    """20,000 x 20,000 white pixels in 100 kB."""
    bomb = cv2.imencode(".png", np.full((20_000, 20_000), 255, np.uint8))[1].tobytes()
    table = pa.table({"png": [bomb], **{name: [1] for name in VOTE_COLUMNS}})
    pq.write_table(table, tmp_path / "faces.parquet")
    with pytest.raises(UserError, match="the picture has [0-9]+ bytes"):
        read_faces(tmp_path / "faces.parquet")
