"""`evaluate-teacher` as users run it: any teacher file, few faces, figures that onnxruntime and scikit-learn confirm."""

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import accuracy_score, recall_score
from torch import nn

from jobs.evaluate_teacher import main
from modeling.emotions import EMOTIONS
from modeling.faces.ferplus import VOTE_COLUMNS, majority_rule
from modeling.teachers.compact import CompactTeacher, CompactTeacherConfig, save_compact_teacher
from pipeline.teachers.ferplus_files import read_faces
from tests.support.job_calls import last_line, problem_of_job

ROWS = 300


@pytest.fixture(scope="session")
def some_faces(data_dir, tmp_path_factory):
    """300 rows of FER+ valid, the last ten of them called train."""
    table = pq.read_table(data_dir / "ferplus" / "valid.parquet").slice(0, ROWS)
    splits = pa.array(["valid"] * (ROWS - 10) + ["train"] * 10)
    table = table.set_column(table.schema.get_field_index("split"), "split", splits)
    path = tmp_path_factory.mktemp("ferplus") / "some.parquet"
    pq.write_table(table, path)
    return path


@pytest.fixture(scope="session")
def small_teacher(tmp_path_factory):
    torch.manual_seed(0)
    network = CompactTeacher(CompactTeacherConfig(stem=4, widths=(4, 8), blocks=(1, 1), embedding=8))
    path = tmp_path_factory.mktemp("teacher") / "small.safetensors"
    path.write_bytes(save_compact_teacher(network, {}))
    return path


class Outputs(nn.Module):
    """Seven outputs by the mean grey of a face; NaN for faces darker than `dark`."""

    def __init__(self, dark: float):
        super().__init__()
        self.dark = dark

    def forward(self, x):
        mean = x.mean((1, 2, 3))
        mean = torch.where(mean < self.dark, torch.full_like(mean, float("nan")), mean)
        return torch.arange(7.0)[None] * (mean[:, None] - 0.5)


def seven_classes(folder, dark: float = -1.0):
    """A TorchScript teacher of FER2013's seven emotions, with its description."""
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(Outputs(dark).eval()), file)
    (folder / "seven.pt").write_bytes(file.getvalue())
    classes = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    description = {"side_px": 48, "colour": "grey", "scale": 1 / 255, "classes": classes}
    (folder / "seven.json").write_text(json.dumps(description))
    return folder / "seven.pt"


def command(data, teacher, *more: object) -> list[str]:
    return ["--data", str(data), "--teacher", str(teacher), *(str(option) for option in more)]


def test_the_reference_network_is_scored_as_onnxruntime_and_scikit_learn_do(data_dir, some_faces, tmp_path, capfd):
    weights = (data_dir / "weights" / "ferplus_reference" / "ferplus_vicksam_pd.onnx").read_bytes()
    (tmp_path / "reference.onnx").write_bytes(weights)
    description = {"side_px": 48, "colour": "grey", "scale": 1 / 255, "classes": EMOTIONS}
    (tmp_path / "reference.json").write_text(json.dumps(description))
    assert main(command(some_faces, tmp_path / "reference.onnx", "--out", tmp_path / "out")) == 0
    result = last_line(capfd)

    faces = read_faces(str(some_faces))
    keep = majority_rule(faces.votes_NV)
    pictures = faces.images_NHW[keep, None].astype(np.float32) / 255
    session = onnxruntime.InferenceSession(weights)
    predicted = session.run(None, {session.get_inputs()[0].name: pictures})[0].argmax(1)
    truth = faces.votes_NV[keep, :8].argmax(1)
    assert result["n"] == ROWS and result["teacher"].startswith("reference@") and result["seconds"] > 0
    assert result["accuracy"]["majority"]["n"] == keep.sum()
    assert result["accuracy"]["majority"]["value"] == pytest.approx(accuracy_score(truth, predicted))
    assert result["accuracy"]["paper"]["n"] > keep.sum() and result["accuracy"]["argmax8"]["n"] == ROWS
    assert result["recall"]["happiness"] == pytest.approx(
        recall_score(truth, predicted, labels=[1], average="macro", zero_division=np.nan)
    )
    assert 0 <= result["ece"] <= 1

    written = json.loads((tmp_path / "out" / "teacher_evaluation.json").read_text())
    assert written == {name: result[name] for name in written} and "reliability" in written
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["inputs"]["teacher"] == result["teacher"] and record["counts"]["faces"] == ROWS
    page = (tmp_path / "out" / "report.html").read_text()
    assert result["report"] == str(tmp_path / "out" / "report.html") and result["teacher"] in page
    wrong = int((predicted != truth).sum())
    assert page.count("data:image/png;base64,") == min(24, wrong) > 5


def test_without_out_nothing_is_written_and_no_ray_is_started(some_faces, small_teacher, tmp_path):
    program = (
        "import sys; from jobs.evaluate_teacher import main; code = main(); sys.exit(code or 'ray' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command(some_faces, small_teacher, "--split", "train")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["n"] == 10
    assert list(tmp_path.iterdir()) == []


def test_a_teacher_that_is_a_program_is_loaded_by_its_hash_or_on_trust(some_faces, tmp_path, capfd):
    file = seven_classes(tmp_path)
    line = problem_of_job(capfd, "evaluate-teacher", command(some_faces, file))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert f"give --teacher-sha256 {sha256}, or --trust-teacher" in line
    assert main(command(some_faces, file, "--teacher-sha256", sha256)) == 0


def test_a_teacher_of_seven_classes_says_what_it_does_not_know(some_faces, tmp_path, capfd):
    assert main(command(some_faces, seven_classes(tmp_path), "--out", tmp_path / "out", "--trust-teacher")) == 0
    result = last_line(capfd)
    assert result["masked"] == ["contempt"] and sum(row[7] for row in result["confusion"]) == 0
    assert result["log_loss"] < 10  # the -100 of the unknown emotion is not in it
    assert "does not know contempt" in (tmp_path / "out" / "report.html").read_text()


def test_logits_that_are_not_finite_end_with_the_rows(some_faces, tmp_path, capfd):
    means = read_faces(str(some_faces)).images_NHW.mean((1, 2)) / 255
    dark = np.sort(means)[:4].mean()
    rows = np.flatnonzero(means < dark).tolist()
    line = problem_of_job(
        capfd,
        "evaluate-teacher",
        command(some_faces, seven_classes(tmp_path, dark), "--out", tmp_path / "out", "--trust-teacher"),
    )
    assert f"{len(rows)} of {ROWS} rows" in line and f"rows {rows}" in line and "seven.pt" in line
    assert not (tmp_path / "out").exists()


def test_what_is_wrong_is_named_before_any_work(some_faces, small_teacher, tmp_path, capfd):
    assert "nowhere.parquet" in problem_of_job(
        capfd, "evaluate-teacher", command(tmp_path / "nowhere.parquet", small_teacher)
    )
    assert "nobody" in problem_of_job(capfd, "evaluate-teacher", command(some_faces, "nobody"))
    assert "sha256" in problem_of_job(
        capfd, "evaluate-teacher", command(some_faces, small_teacher, "--teacher-sha256", "0" * 64)
    )
    assert "test" in problem_of_job(capfd, "evaluate-teacher", command(some_faces, small_teacher, "--split", "test"))
    with pytest.raises(SystemExit) as exit:
        main(command(some_faces, small_teacher, "--split", "all"))
    assert exit.value.code == 2


def test_votes_without_any_majority_are_no_crash(small_teacher, some_faces, tmp_path, capfd):
    table = pq.read_table(some_faces).slice(0, 4)
    for name in VOTE_COLUMNS:
        values = pa.array([9 if name == "unknown" else 0] * 4, pa.uint8())
        table = table.set_column(table.schema.get_field_index(name), name, values)
    pq.write_table(table, tmp_path / "unknown.parquet")
    assert main(command(tmp_path / "unknown.parquet", small_teacher, "--out", tmp_path / "out")) == 0
    result = last_line(capfd)
    assert result["accuracy"]["majority"] == {"value": None, "n": 0, "low": None, "high": None}
    assert (tmp_path / "out" / "report.html").exists()


def clips_table(path: Path, rows: list[tuple[str, str, str]]) -> Path:
    path.write_text("file,speaker,emotion\n" + "".join(",".join(row) + "\n" for row in rows))
    return path


def test_clips_are_looked_at_and_what_cannot_be_used_is_set_aside(data_dir, small_teacher, tmp_path, capfd):
    labelled = data_dir / "video" / "labelled"
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    rows = [
        (str(labelled / "MEAD_W036_level_3_happy_007.mp4"), "W036", "happiness"),
        (str(labelled / "MEAD_M030_level_3_angry_016.mp4"), "M030", "anger"),
        (str(broken), "nobody", "anger"),
        (str(labelled / "MEAD_W040_level_3_happy_029.mp4"), "W040", ""),
    ]
    arguments = ["--clips", str(clips_table(tmp_path / "clips.csv", rows)), "--teacher", str(small_teacher)]
    detector = data_dir / "weights" / "retinaface" / "mobilenet0.25_Final.pth"
    assert main([*arguments, "--detector", str(detector), "--out", str(tmp_path / "out")]) == 0
    found = last_line(capfd)
    assert found["figures"]["clips"] == 2 and found["figures"]["frames"] > 10
    assert found["set_aside"] == {"not_a_video": 1, "no_label": 1}
    assert set(found["by_scale"]) == {"0.7", "0.8", "0.9", "1.0"}
    assert sum(map(sum, found["figures"]["confusion"])) == 2
    written = json.loads((tmp_path / "out" / "clip_evaluation.json").read_text())
    assert written["figures"] == found["figures"]


def test_emotions_that_no_teacher_knows_are_named(tmp_path, capfd):
    table = clips_table(
        tmp_path / "clips.csv", [("a.mp4", "x", "happy"), ("b.mp4", "x", "calm"), ("c.mp4", "y", "calm")]
    )
    problem = problem_of_job(capfd, "evaluate-teacher", ["--clips", str(table)])
    assert "'happy' (1), 'calm' (2)" in problem and "happiness" in problem


@pytest.mark.parametrize("given", [[], ["--data", "x", "--clips", "y"]])
def test_it_takes_either_faces_or_clips(given, capfd):
    with pytest.raises(SystemExit):
        main(given)
    assert "either --data (FER+) or --clips" in capfd.readouterr().err
