"""The student that comes with the project, as a user meets it: an answer for a recording, and no confident one for bad sound."""

import hashlib
import json
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jobs.predict import main
from modeling.emotions import EMOTIONS
from pipeline.students.files import DEFAULT_STUDENT, SHIPPED_STUDENTS, student_fingerprint
from pipeline.students.load import read_student, student_meta
from tests.support.job_calls import answer_of
from tests.support.whisper_package import TINY_EN_SHA256, require_whisper

MOST_BYTES = 4 * 2**20


@pytest.fixture(scope="module")
def student():
    require_whisper()
    return read_student()


@pytest.fixture(scope="module")
def recording(data_dir) -> Path:
    return data_dir / "speech" / "ravdess" / "03-01-05-02-01-01-12.flac"


def folder(name: str) -> Path:
    return Path(str(resources.files("modeling.students") / "weights" / name))


def test_what_is_shipped_is_small_and_has_a_card_that_says_what_it_must_not_be_used_for():
    files = [path for name in SHIPPED_STUDENTS for path in folder(name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    for name in SHIPPED_STUDENTS:
        card = (folder(name) / "README.md").read_text()
        assert "Do not use it to judge single people" in card
        assert "## Data" in card and "Javanese" in card and "CC BY 4.0" in card
        assert TINY_EN_SHA256 in card


def test_a_user_needs_three_lines(student, recording):
    wave, sample_rate = soundfile.read(recording)
    probabilities_E = student.predict(wave, sample_rate)
    assert probabilities_E.shape == (8,) and float(probabilities_E.sum()) == pytest.approx(1)
    assert student.front_end.fingerprint() == TINY_EN_SHA256
    assert len(student_meta(student)["speakers"]) == 21


def test_predict_needs_the_file_alone(student, recording):
    (answer,) = answer_of("predict", recording)["answers"]
    assert answer["emotion"] in EMOTIONS and answer["emotion_corrected"] in EMOTIONS
    assert sum(answer[name] for name in EMOTIONS) == pytest.approx(1, abs=1e-5)
    by_name = answer_of("predict", recording, "--student", DEFAULT_STUDENT)["answers"]
    assert by_name == [answer]


def test_a_head_names_the_shipped_student_by_its_file(student):
    file = (folder(DEFAULT_STUDENT) / "student.safetensors").read_bytes()
    assert student_fingerprint(DEFAULT_STUDENT) == hashlib.sha256(file).hexdigest()


def test_bad_sound_is_a_reason_or_a_warning_and_never_a_confident_answer(student, recording, tmp_path, capfd):
    wave, sample_rate = soundfile.read(recording)
    soundfile.write(tmp_path / "silent.wav", np.zeros(3 * sample_rate), sample_rate)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), sample_rate)
    soundfile.write(tmp_path / "clipped.wav", np.clip(wave * 200, -1, 1), sample_rate)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "clipped.wav").read_bytes()[:20])
    with zipfile.ZipFile(tmp_path / "zip.wav", "w") as archive:
        archive.write(recording, "inside.flac")
    assert main([str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    answers = {Path(answer["file"]).name: answer for answer in json.loads(out)["answers"]}
    reasons = {name: answer.get("reject_reason") for name, answer in answers.items()}
    assert reasons.pop("clipped.wav") is None and "of its samples are clipped" in err
    assert reasons.pop("silent.wav") == "silent"
    assert all(reasons.values()) and set(reasons) == {"empty.wav", "cut.wav", "zip.wav"}
    assert all("emotion" not in answers[name] for name in reasons)
