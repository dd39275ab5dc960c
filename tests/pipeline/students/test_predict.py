"""Where files are predicted: in this process or on Ray, with the same rows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from cluster.failures import UserError
from modeling.students.build import StudentConfig, build_student
from modeling.students.checkpoint import save_student
from pipeline.students import predict
from pipeline.students.file_prediction import PredictionOptions
from pipeline.students.predict import predict_files
from pipeline.students.predict_on_ray import predict_on_ray
from pipeline.students.timelines import TimelineOptions
from tests.support.tones import tone

ROOT = Path(__file__).parents[3]
HEAVY = {"matplotlib", "pandas", "ray", "s3fs", "scipy", "sklearn", "torchvision"}


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return build_student(StudentConfig(widths=(8, 16, 16), embedding=32)).eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, seconds in (("a", 3.0), ("b", 12.5), ("silent", 2.0)):
        samples = np.zeros(round(seconds * 16_000)) if name == "silent" else tone(300, 1, seconds)
        soundfile.write(folder / f"{name}.wav", samples, 16_000)
    (folder / "c.wav").write_bytes(b"no sound")
    return [str(path) for path in sorted(folder.iterdir())] + [str(folder / "missing.wav")]


def test_this_process_and_ray_give_the_same_rows(student, files):
    options = PredictionOptions(embeddings=True, timeline=TimelineOptions())
    here, on_ray = predict_files(student, files, options), predict_on_ray(student, files, options, None).to_pylist()
    for one, other in zip(here, on_ray, strict=True):
        assert [name for name, value in other.items() if value is not None and one.get(name) is None] == []
        for name, value in one.items():
            if isinstance(value, list | np.ndarray | np.floating | float):
                assert np.allclose(value, other[name], atol=1e-5, equal_nan=True), name
            else:
                assert value == other[name], name


@pytest.mark.parametrize(("name", "limit"), [("FEW_FILES", 2), ("FEW_BYTES", 100_000)])
def test_many_files_or_bytes_are_not_few(files, monkeypatch, name, limit):
    assert predict.are_few(files)
    monkeypatch.setattr(predict, name, limit)
    assert not predict.are_few(files)


def test_few_files_are_predicted_without_importing_ray(student, files, tmp_path):
    weights = tmp_path / "student.safetensors"
    save_student(student, weights, {})
    program = (
        "import sys; from jobs.predict import main; code = main(sys.argv[1:]); "
        f"print('heavy', sorted({HEAVY} & sys.modules.keys())); sys.exit(code)"
    )
    command = [sys.executable, "-c", program, files[0], "--student", weights]
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "heavy []" in done.stdout


def test_names_that_no_file_can_have_are_rejects_or_missing(student, files, tmp_path):
    rows = predict_files(
        student, [files[0], f"{tmp_path}/a\0b.wav", f"{tmp_path}/{'x' * 300}.wav"], PredictionOptions()
    )
    assert [row.get("reject_reason") for row in rows] == [None, "file_not_found", "file_not_found"]
    with pytest.raises(UserError, match="not found; give audio or video files"):
        predict.media_files([f"{'x' * 300}.wav"])
