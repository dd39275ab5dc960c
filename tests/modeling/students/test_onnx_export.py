"""The exported graph against the student itself, in onnxruntime."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from modeling.emotions import EMOTIONS
from modeling.students.build import StudentConfig, WhisperConfig, WhisperStudent, build_student
from modeling.students.onnx_export import TOLERANCE, export_student, parity
from tests.support.small_whisper import NAME, encoder, small_size

pytest.importorskip("onnx")
SMALL = StudentConfig(widths=(8, 16, 16), embedding=32)


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    student = build_student(SMALL)
    student.train()(torch.randint(-3000, 3000, (4, 20_000), dtype=torch.int16))  # moves the running statistics
    student.meta = {"prior": [0.125] * 8, "prior_strength": 0.8}
    return student.eval()


@pytest.fixture(scope="module")
def exported(student) -> bytes:
    return export_student(student, "ab" * 32)


@pytest.mark.parametrize("samples", [1, 700, 16_000, 16_240, 40_000, 64_384, 116_800, 192_001])
def test_the_graph_gives_what_the_student_gives_at_any_length(student, exported, samples):
    clip = np.random.default_rng(samples).normal(size=samples).astype(np.float32) * 0.1
    logits, probabilities, embedding = onnxruntime.InferenceSession(exported).run(None, {"waveform": clip[None]})
    expected_logits, expected_embedding = student.outputs_of_clip(torch.from_numpy(clip))
    assert logits.shape == probabilities.shape == (1, 8) and embedding.shape == (1, 32)
    np.testing.assert_allclose(logits[0], expected_logits, atol=1e-4)
    np.testing.assert_allclose(probabilities[0], student.predict(clip, 16_000), atol=1e-4)
    np.testing.assert_allclose(embedding[0], expected_embedding, atol=1e-4)


def test_the_metadata_says_what_a_reader_must_know(exported):
    metadata = onnxruntime.InferenceSession(exported).get_modelmeta().custom_metadata_map
    assert metadata["emotions"] == ",".join(EMOTIONS) and metadata["sample_rate_hz"] == "16000"
    assert metadata["student_sha256"] == "ab" * 32
    assert json.loads(metadata["prior"]) == [0.125] * 8 and json.loads(metadata["prior_strength"]) == 0.8


def test_another_students_graph_is_found_out(exported):
    torch.manual_seed(1)
    assert max(parity(build_student(SMALL).eval(), exported).values()) > TOLERANCE


@pytest.mark.slow
def test_the_papers_student_too():
    torch.manual_seed(0)
    student = build_student(StudentConfig(kind="paper")).eval()
    assert max(parity(student, export_student(student, "")).values()) < TOLERANCE / 10


def test_real_speech_gives_the_same(student, exported, data_dir):
    import soundfile

    for path in sorted((data_dir / "speech" / "ravdess").rglob("*.flac"))[:3]:
        speech, _ = soundfile.read(path, dtype="float32")
        logits = onnxruntime.InferenceSession(exported).run(["logits"], {"waveform": speech[None]})[0]
        np.testing.assert_allclose(logits[0], student.logits_of_clip(torch.from_numpy(speech)), atol=1e-4)


def test_front_end_and_head_of_a_whisper_student_are_one_file():
    with small_size():
        student = WhisperStudent(WhisperConfig(front_end=NAME, layers=2), encoder(layers=2)).eval()
    torch.nn.init.normal_(student.classifier.weight)
    graph = onnxruntime.InferenceSession(export_student(student, ""))
    for samples in (1, 16_240, 40_001, 116_800, 192_001):
        clip = np.random.default_rng(samples).normal(size=samples).astype(np.float32) * 0.1
        logits, _, embedding = graph.run(None, {"waveform": clip[None]})
        expected_logits, expected_embedding = student.outputs_of_clip(torch.from_numpy(clip))
        np.testing.assert_allclose(logits[0], expected_logits, atol=1e-3)
        np.testing.assert_allclose(embedding[0], expected_embedding, atol=1e-4)
