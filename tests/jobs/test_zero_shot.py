"""`probe --protocol zero-shot` as users run it: the shipped student on acted speech, and corpora it must not be scored on."""

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import roc_auc_score

from jobs.probe import main
from modeling.students.build import StudentConfig, build_student
from modeling.students.checkpoint import save_student
from tests.support.job_calls import last_line, problem_of_job
from tests.support.tones import write_tone
from tests.support.whisper_package import require_whisper


@pytest.fixture
def corpus(data_dir, tmp_path) -> Path:
    """Six actors of RAVDESS, by a table with its own names of the emotions; calm is no emotion of FER+."""
    folder = data_dir / "speech" / "ravdess"
    with open(folder / "manifest.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    speakers = sorted({row["speaker"] for row in rows})[:6]
    lines = [f"{folder / row['file']},{row['speaker']},{row['emotion']}" for row in rows if row["speaker"] in speakers]
    (tmp_path / "acted.csv").write_text("\n".join(["file,speaker,emotion", *lines, "nowhere.flac,x,angry"]))
    return tmp_path / "acted.csv"


@pytest.fixture
def small_student(tmp_path) -> Path:
    """A student of random weights that heard a speaker named s0."""
    torch.manual_seed(0)
    path = tmp_path / "student.safetensors"
    student = build_student(StudentConfig(widths=(8, 16, 16), embedding=32))
    save_student(student, path, {"prior": [0.125] * 8, "speakers": ["s0"]})
    return path


def tones(folder: Path, speakers: tuple[str, ...], emotions: tuple[str, ...] = ("angry", "Happiness")) -> Path:
    rows = [
        f"{write_tone(folder / f'{emotion}_{speaker}_{k}.wav', 300 + 900 * n + 5 * k).name},{speaker},{emotion}"
        for n, emotion in enumerate(emotions)
        for speaker in speakers
        for k in range(3)
    ]
    (folder / "tones.csv").write_text("\n".join(["file,speaker,emotion", *rows]))
    return folder / "tones.csv"


def test_the_shipped_student_tells_emotions_apart_that_it_was_never_told(corpus, tmp_path, capfd):
    require_whisper()
    out = tmp_path / "out"
    assert main(["--protocol", "zero-shot", "--corpus", "csv", "--data", str(corpus), "--out", str(out)]) == 0
    result = last_line(capfd)
    assert result["n"] == 156 and result["speakers"] == 6 and result["other_emotions"] == {"calm": 24}
    assert result["reasons"] == {"file_not_found": 1} and result["knows_its_speakers"]
    for variant in ("raw", "logits", "corrected", "speaker_centred"):
        assert result["variants"][variant]["mean_auc"]["low"] > 0.5
    assert result["variants"]["speaker_centred"]["mean_auc"]["value"] > 0.7

    rows = pq.read_table(out / "predictions.parquet").to_pylist()
    truth = [row["emotion"] == "anger" for row in rows]
    expected = roc_auc_score(truth, [row["anger_corrected"] for row in rows])
    assert result["variants"]["corrected"]["auc"]["anger"]["value"] == pytest.approx(expected)
    written = json.loads((out / "zero_shot.json").read_text())
    assert written["variants"] == result["variants"]
    page = (out / "report.html").read_text()
    assert "calm (24)" in page and "chance 0.5" in page and "http" not in page.replace("http-equiv", "")


def test_a_speaker_that_the_student_heard_in_training_is_refused(small_student, tmp_path, capfd):
    data = tones(tmp_path, ("s0", "s1"))
    asked = ["--protocol", "zero-shot", "--student", str(small_student), "--corpus", "csv", "--data", str(data)]
    said = problem_of_job(capfd, "probe", asked)
    assert "learned from 1 of its speakers (s0)" in said and "leave theirs out" in said


def test_a_corpus_without_two_emotions_of_ferplus_is_refused(small_student, tmp_path, capfd):
    data = tones(tmp_path, ("s1", "s2"), ("boredom", "angry"))
    asked = ["--protocol", "zero-shot", "--student", str(small_student), "--corpus", "csv", "--data", str(data)]
    assert "fewer than two emotions that FER+ has" in problem_of_job(capfd, "probe", asked)


def test_classifiers_trained_on_another_corpus_stand_beside_the_student(small_student, tmp_path, capfd):
    pytest.importorskip("opensmile")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    asked = ["--protocol", "zero-shot", "--student", str(small_student)]
    asked += ["--corpus", "csv", "--data", str(tones(tmp_path / "a", ("s1", "s2", "s3")))]
    asked += ["--peer-corpus", "csv", "--peer-data", str(tones(tmp_path / "b", ("s4", "s5", "s6")))]
    assert main(asked) == 0
    peers = last_line(capfd)["peers"]
    assert set(peers) == {"egemaps", "embedding"}
    assert peers["egemaps"]["raw"]["mean_auc"]["value"] == 1.0  # a pitch tells these emotions apart
    assert peers["egemaps"]["speaker_centred"]["mean_auc"]["value"] == 1.0


def test_a_peer_needs_its_corpus_and_its_data(small_student, tmp_path, capfd):
    data = tones(tmp_path, ("s1", "s2"))
    asked = ["--protocol", "zero-shot", "--student", str(small_student), "--corpus", "csv", "--data", str(data)]
    assert "belong together" in problem_of_job(capfd, "probe", [*asked, "--peer-corpus", "ravdess"])
