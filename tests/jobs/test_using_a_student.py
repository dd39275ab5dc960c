"""predict, fit-head and export as a user calls them, on a student of random weights and sounds of two pitches."""

import csv
import importlib
import json
import subprocess
import sys

import pandas as pd
import pytest
import soundfile
import torch

from modeling.students.build import StudentConfig, build_student
from modeling.students.checkpoint import save_student
from tests.support.job_calls import answer_of
from tests.support.tones import write_tone

PRIOR = [0.6, 0.2, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    for seed, name in enumerate(("student", "other")):
        torch.manual_seed(seed)
        student = build_student(StudentConfig(widths=(8, 16, 16), embedding=32))
        save_student(student, folder / f"{name}.safetensors", {"prior": PRIOR, "prior_strength": 1.0})
    rows = []
    for n in range(16):
        path = write_tone(folder / f"{n}.wav", hz=250 if n % 2 else 1500, seed=n)
        rows.append({"file": path.name, "speaker": f"s{n // 2 % 4}", "emotion": "low" if n % 2 else "high"})
    soundfile.write(folder / "again.flac", *soundfile.read(folder / "0.wav", dtype="int16"), subtype="PCM_16")
    rows.append({"file": "again.flac", "speaker": "s0", "emotion": "high"})
    (folder / "text.wav").write_text("not sound")
    rows.append({"file": "text.wav", "speaker": "s0", "emotion": "low"})
    with (folder / "mine.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "speaker", "emotion"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def run(job: str, *arguments: object) -> int:
    return importlib.import_module(f"jobs.{job}").main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def fitted(folder):
    """A head for the student, and the job's answer."""
    student, head = folder / "student.safetensors", folder / "head.json"
    return head, answer_of("fit_head", "--student", student, "--data", folder / "mine.csv", "--out", head)


def test_a_head_is_fitted_to_what_can_be_heard_and_scored(fitted):
    answer = fitted[1]
    assert answer["n"] == 16 and answer["speakers"] == 4 and answer["reasons"] == {"duplicate": 1, "not_a_video": 1}
    assert answer["uar"]["value"] == 1.0 and answer["classes"] == {"high": 8, "low": 8}


def test_predictions_hold_the_heads_class_the_corrected_emotion_and_a_timeline(fitted, capfd, caplog, folder, tmp_path):
    out, timeline, files = tmp_path / "p.csv", tmp_path / "t.parquet", [folder / "0.wav", folder / "1.wav"]
    asked = (
        *files,
        folder / "text.wav",
        "--out",
        out,
        "--head",
        fitted[0],
        "--student",
        folder / "student.safetensors",
    )
    assert run("predict", *asked, "--timeline", timeline, "--window-s", 1, "--hop-s", 0.1) == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["windows"] == 6 and "mostly neutral" in caplog.text
    assert "corrected: " in said.err
    table = pd.read_csv(out)
    assert table["head_emotion"].tolist()[:2] == ["high", "low"] and table["reject_reason"][2] == "not_a_video"
    assert pd.isna(table["emotion"][2]) and table["emotion_corrected"].notna().tolist() == [True, True, False]
    assert set(pd.read_parquet(timeline)["file"]) == {str(file) for file in files}


def test_a_head_is_refused_with_another_student(fitted, capfd, folder, tmp_path):
    asked = (folder / "0.wav", "--out", tmp_path / "p.csv", "--head", fitted[0])
    assert run("predict", *asked, "--student", folder / "other.safetensors") == 1
    assert "fitted to the student with sha256" in capfd.readouterr().err


def test_an_export_checks_itself_and_says_how_well(capfd, folder):
    pytest.importorskip("onnx")
    assert run("export", "--student", folder / "student.safetensors", "--out", folder / "s.onnx") == 0
    result = json.loads(capfd.readouterr().out)
    assert set(result["parity"]) == {"logits", "probabilities", "embedding"}
    assert (
        max(result["parity"].values()) < result["tolerance"] and (folder / "s.onnx").stat().st_size == result["bytes"]
    )


def test_neither_a_head_nor_an_export_needs_ray(folder, tmp_path):
    program = (
        "import sys; from jobs import export, fit_head; student, data, out = sys.argv[1:]; "
        "export.main(['--student', student, '--out', out + '/s.onnx']); "
        "fit_head.main(['--student', student, '--data', data, '--out', out + '/h.json']); sys.exit('ray' in sys.modules)"
    )
    arguments = [folder / "student.safetensors", folder / "mine.csv", tmp_path]
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "h.json").exists() and (tmp_path / "s.onnx").exists()
