"""The student on Whisper: its windows, its file without the front end, and its answers to any sound."""

import numpy as np
import pytest
import torch

from modeling.speech.whisper import whisper_mel
from modeling.students.build import WhisperConfig, WhisperStudent
from modeling.students.checkpoint import load_student, save_student
from tests.support.small_whisper import NAME, SIZE, encoder, small_size


@pytest.fixture(autouse=True)
def small_model():
    with small_size():
        yield


def whisper_student(**config) -> WhisperStudent:
    student = WhisperStudent(WhisperConfig(front_end=NAME, layers=2, **config), encoder(layers=2)).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        student.classifier.weight.normal_()
        student.classifier.bias.normal_()
    return student


def speech(seconds: float, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy((rng.standard_normal(round(16_000 * seconds)) * 3000).astype(np.int16))


def test_features_are_mean_and_deviation_over_windows_of_a_second_each_half_second():
    student, wave = whisper_student(), speech(2.6)
    with torch.no_grad():
        layer_PC = encoder(layers=2)(whisper_mel(wave[None]))[0].numpy()
        found_ND = student.window_features(student.spectrogram(wave[None]))[0].numpy()
    assert found_ND.shape == (4, 2 * SIZE.width)
    for number, features_D in enumerate(found_ND):
        window_PC = layer_PC[25 * number : 25 * number + 50]
        np.testing.assert_allclose(features_D[: SIZE.width], window_PC.mean(0), atol=1e-4)
        np.testing.assert_allclose(features_D[SIZE.width :], np.maximum(window_PC.std(0), 0.01), atol=1e-3)


def test_a_clips_logits_are_the_mean_of_those_of_its_windows_and_linear_in_its_embedding():
    student, wave = whisper_student(), speech(3.2)
    logits_E, embedding_D = student.outputs_of_clip(wave)
    with torch.no_grad():
        of_windows_NE = student.classifier(student.window_features(student.spectrogram(wave[None])))[0]
        torch.testing.assert_close(logits_E, student.classifier(embedding_D))
    torch.testing.assert_close(logits_E, of_windows_NE.mean(0), atol=1e-4, rtol=1e-4)


def test_a_clip_has_one_answer_alone_or_in_a_batch():
    student = whisper_student()
    clips = torch.stack([speech(1.5, 1), speech(1.5, 2) // 50])
    with torch.no_grad():
        together, _ = student(clips)
    torch.testing.assert_close(student.logits_of_clip(clips[1]), together[1], atol=1e-4, rtol=1e-4)


def test_silence_constants_and_very_short_sounds_stay_finite():
    student = whisper_student()
    for clip in (torch.zeros(1), torch.zeros(40_000), torch.full((40_000,), -1.0), torch.tensor([0.5, -0.5])):
        logits, embedding = student.outputs_of_clip(clip)
        assert torch.isfinite(logits).all() and torch.isfinite(embedding).all()


def test_the_file_holds_the_head_alone_and_comes_back_with_its_front_end(tmp_path):
    student, path = whisper_student(), tmp_path / "student.safetensors"
    save_student(student, path, {"prior": [0.125] * 8})
    assert path.stat().st_size < 15_000
    asked = []

    def front_ends(config: WhisperConfig, sha256: str):
        asked.append((config, sha256))
        return encoder(layers=2)

    loaded = load_student(path, front_ends)
    assert asked == [(student.config, encoder(layers=2).fingerprint())]
    assert loaded.config == student.config and loaded.meta == {"prior": [0.125] * 8} and not loaded.training
    assert torch.equal(loaded.embed(speech(2), 16_000), student.embed(speech(2), 16_000))
    assert torch.equal(loaded.predict(speech(2), 16_000), student.predict(speech(2), 16_000))


def test_without_its_front_end_a_file_is_refused_with_what_to_call(tmp_path):
    save_student(whisper_student(), tmp_path / "student.safetensors", {})
    with pytest.raises(
        ValueError, match=r"student\.safetensors: .*pipeline\.students\.load\.read_student fetches both"
    ):
        load_student(tmp_path / "student.safetensors")


def test_what_goes_wrong_with_the_front_end_is_said_as_it_is(tmp_path):
    save_student(whisper_student(), tmp_path / "student.safetensors", {})

    def none(config: WhisperConfig, sha256: str):
        raise ValueError("the package index does not answer")

    with pytest.raises(ValueError, match="^the package index does not answer$"):
        load_student(tmp_path / "student.safetensors", none)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"front_end": "huge"}, "front_end = 'huge': choose one of tiny, tiny.en"),
        ({"layers": 5}, "layers = 5: the encoder of tiny.en has 4; choose 1 to 4"),
        ({"layers": 0}, "choose 1 to 4"),
        ({"window_s": 2.0}, "a window of 1 s at most"),
        ({"hop_s": 0.0}, "a hop within it"),
    ],
)
def test_a_config_that_cannot_be_is_refused(config, said):
    with pytest.raises(ValueError, match=said):
        WhisperConfig(**config)
