"""The front end in the cache folder; tests of the published one run where it is there or can be fetched."""

import pytest

from cluster.failures import UserError
from modeling.speech.whisper_files import read_encoder
from modeling.students.build import WhisperConfig
from pipeline.assets import front_ends
from pipeline.assets.front_ends import front_end, keep_front_end, published_front_end
from tests.support.small_whisper import NAME, encoder, small_size
from tests.support.whisper_package import TINY_EN_SHA256, require_whisper


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A config of a small model, and a cache folder of its own; its package cannot be reached."""

    def no_package(config):
        raise UserError("no package")

    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path))
    monkeypatch.setattr(front_ends, "published_front_end", no_package)
    with small_size():
        yield WhisperConfig(front_end=NAME, layers=2)


def test_a_front_end_that_was_kept_is_read_without_its_package(small):
    keep_front_end(encoder(layers=2), small)
    sha256 = encoder(layers=2).fingerprint()
    assert front_end(small, sha256).fingerprint() == sha256


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"text" * 99])
def test_a_damaged_file_of_the_cache_is_made_anew(small, tmp_path, monkeypatch, damage):
    keep_front_end(encoder(layers=2), small)
    (path,) = (tmp_path / "front-ends").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    monkeypatch.setattr(front_ends, "published_front_end", lambda config: encoder(layers=2))
    sha256 = encoder(layers=2).fingerprint()
    assert front_end(small, sha256).fingerprint() == sha256
    assert read_encoder(path.read_bytes(), NAME, 2).fingerprint() == sha256


def test_a_student_on_other_weights_than_the_published_is_told_what_it_needs(small, monkeypatch):
    monkeypatch.setattr(front_ends, "published_front_end", lambda config: encoder(layers=2))
    with pytest.raises(UserError, match=r"stands on another Whisper small .* front_end\.safetensors"):
        front_end(small, encoder(layers=2, seed=1).fingerprint())


def test_a_model_that_is_in_no_package_is_asked_for_as_a_file():
    with pytest.raises(UserError, match=r"Whisper medium are in no package .*--front-end: OpenAI's \.pt"):
        published_front_end(WhisperConfig(front_end="medium"))


def test_the_published_tiny_en_is_the_one_that_was_compared_with_openai_and_ctranslate2():
    require_whisper()
    assert published_front_end(WhisperConfig()).fingerprint() == TINY_EN_SHA256
