"""Features of the probe against direct calls of openSMILE and SciPy, and the clips that cannot be used."""

import shutil

import numpy as np
import opensmile
import pytest
import soundfile
import torch
from scipy.signal import stft

from modeling.students.build import StudentConfig, build_student
from modeling.students.checkpoint import load_student
from pipeline.corpora.read import read_corpus
from pipeline.probe import features
from pipeline.probe.features import probe_features
from pipeline.students import predict
from tests.support.tones import tone, write_tone


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return build_student(StudentConfig(widths=(8, 16, 16), embedding=32)).eval()


def csv_corpus(folder, *rows: str):
    (folder / "labels.csv").write_text("\n".join(["file,speaker,emotion", *rows]))
    return read_corpus("csv", str(folder / "labels.csv"))


def test_features_are_those_of_direct_calls(student, tmp_path):
    write_tone(tmp_path / "a.wav", 300)
    write_tone(tmp_path / "b.flac", 700, seconds=2.5)
    read = probe_features(student, csv_corpus(tmp_path, "a.wav,s1,low", "b.flac,s2,high"))
    assert [clip.reject_reason for clip in read.clips] == [None, None]
    assert {name: values.shape for name, values in read.features.items()} == {
        "logits": (2, 8),
        "embedding": (2, 32),
        "egemaps": (2, 88),
        "mean_log_mel": (2, 128),
        "random": (2, 32),
        "random8": (2, 8),
    }
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    for row, name in enumerate(["a.wav", "b.flac"]):
        np.testing.assert_array_equal(read.features["egemaps"][row], smile.process_file(tmp_path / name).to_numpy()[0])
        samples, rate = soundfile.read(tmp_path / name, dtype="int16")
        np.testing.assert_allclose(read.features["embedding"][row], student.embed(samples, rate), rtol=1e-4, atol=1e-4)


def test_mean_log_mel_keeps_loudness(student, tmp_path):
    samples = tone(500, seed=0)
    soundfile.write(tmp_path / "loud.wav", samples, 16_000, subtype="PCM_16")
    soundfile.write(tmp_path / "soft.wav", samples / 10, 16_000, subtype="PCM_16")
    read = probe_features(student, csv_corpus(tmp_path, "loud.wav,s1,a", "soft.wav,s2,b"))
    loud, soft = read.features["mean_log_mel"][:, :64]
    np.testing.assert_allclose(loud - soft, 20, atol=0.5)  # a tenth of the amplitude is 20 dB less
    _, _, magnitudes = stft(samples, 16_000, "hann", 400, 240, 512, boundary=None, padded=False)
    assert abs(int(loud.argmax()) - _mel_band(np.abs(magnitudes).mean(1).argmax() * 16_000 / 512)) <= 1


def _mel_band(hz: float) -> int:
    """Nearest of 64 HTK mel bands between 60 and 7600 Hz."""
    mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    return round(65 * (mel(hz) - mel(60)) / (mel(7600) - mel(60)) - 1)


def test_as_published_the_student_hears_48_khz_three_times_slower(student, tmp_path):
    write_tone(tmp_path / "fast.wav", 900, seconds=1.5, rate_hz=48_000)
    write_tone(tmp_path / "plain.wav", 900, seconds=1.5, rate_hz=16_000)
    clips = csv_corpus(tmp_path, "fast.wav,s1,a", "plain.wav,s2,b")
    right = probe_features(student, clips, keep_speech=True)
    published = probe_features(student, clips, as_published=True, keep_speech=True)
    fast, _ = soundfile.read(tmp_path / "fast.wav", dtype="int16")
    np.testing.assert_array_equal(published.speech[0], fast)
    assert len(right.speech[0]) == len(fast) // 3
    assert np.abs(published.features["logits"][0] - right.features["logits"][0]).max() > 1e-3
    for name in right.features:
        np.testing.assert_array_equal(published.features[name][1], right.features[name][1])
    np.testing.assert_array_equal(published.features["egemaps"], right.features["egemaps"])


def test_as_published_takes_the_left_channel_of_a_video(student, tmp_path):
    write_tone(tmp_path / "a.avi", 400, seconds=1.1, rate_hz=22_050)
    left, right = tone(300, 0, rate_hz=44_100), tone(2000, 1, rate_hz=44_100)
    soundfile.write(tmp_path / "b.wav", np.stack([left, right], 1), 44_100, subtype="PCM_16")
    read = probe_features(
        student, csv_corpus(tmp_path, "a.avi,s1,a", "b.wav,s2,b"), as_published=True, keep_speech=True
    )
    assert len(read.speech[0]) == round(1.1 * 22_050)
    np.testing.assert_array_equal(read.speech[1], soundfile.read(tmp_path / "b.wav", dtype="int16")[0][:, 0])


def test_a_file_that_cannot_be_used_is_a_row_with_its_reason(student, tmp_path):
    write_tone(tmp_path / "good.wav")
    shutil.copy(tmp_path / "good.wav", tmp_path / "copy.wav")
    write_tone(tmp_path / "one.wav", 500)
    shutil.copy(tmp_path / "one.wav", tmp_path / "other.wav")
    write_tone(tmp_path / "brief.wav", seconds=0.05)
    write_tone(tmp_path / "kept.wav", seconds=0.3)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("this is not sound, but it is long enough to look at")
    soundfile.write(tmp_path / "silent.wav", np.zeros(20_000, np.int16), 16_000)
    broken = np.full(20_000, np.nan, np.float32)
    soundfile.write(tmp_path / "nan.wav", broken, 16_000, subtype="FLOAT")
    (tmp_path / "folder.wav").mkdir()
    reasons = {
        "good": None,
        "copy": "duplicate",
        "one": "contradictory_labels",
        "other": "contradictory_labels",
        "brief": "too_short",
        "kept": None,
        "empty": "empty_file",
        "text": "not_a_video",
        "silent": "silent",
        "nan": "damaged_audio",
        "gone": "file_not_found",
        "folder": "storage_error",
    }
    emotions = {"other": "b", "kept": "b"}
    clips = csv_corpus(tmp_path, *(f"{name}.wav,s1,{emotions.get(name, 'a')}" for name in reasons))
    read = probe_features(student, clips)
    assert {clip.file.removesuffix(".wav"): clip.reject_reason for clip in read.clips} == reasons
    assert all(clip.reject_detail for clip in read.clips if clip.reject_reason)
    assert all(len(values) == len(read.used) == 2 for values in read.features.values())


def test_a_recording_in_two_formats_counts_once(student, tmp_path):
    write_tone(tmp_path / "video.avi", 400, seed=1)
    extracted = tone(400, 1)
    soundfile.write(tmp_path / "sound.flac", (extracted * 32767).astype(np.int16), 16_000, subtype="PCM_16")
    write_tone(tmp_path / "other.wav", 500)
    clips = csv_corpus(tmp_path, "video.avi,s1,a", "sound.flac,s1,a", "other.wav,s2,b")
    read = probe_features(student, clips)
    assert [clip.reject_reason for clip in read.clips] == ["duplicate", None, None]
    assert "sound.flac" in read.clips[0].reject_detail and "sample for sample" in read.clips[0].reject_detail


def test_a_student_from_a_file_gives_the_same_features(student, tmp_path):
    from modeling.students.checkpoint import save_student

    save_student(student, tmp_path / "s.safetensors", {})
    write_tone(tmp_path / "a.wav")
    clips = csv_corpus(tmp_path, "a.wav,s1,a", "missing.wav,s2,b")
    first, again = (probe_features(one, clips) for one in (student, load_student(tmp_path / "s.safetensors")))
    np.testing.assert_array_equal(first.features["logits"], again.features["logits"])


@pytest.mark.slow
def test_on_ray_the_features_are_those_of_this_process(ray_session, student, tmp_path, monkeypatch):
    """A corpus of more files than `predict` takes as few is read on Ray without being told."""
    for n in range(4):
        write_tone(tmp_path / f"{n}.wav", 300 * (n + 1), seconds=1.0 + n / 4)
    (tmp_path / "text.wav").write_text("this is not sound, but it is long enough to look at")
    rows = [f"{name}.wav,s1,a" for name in ("0", "text", "1", "2")]
    clips = csv_corpus(tmp_path, *rows, "3.wav,s2,b")
    here = probe_features(student, clips, keep_speech=True)
    monkeypatch.setattr(predict, "FEW_FILES", 4)
    monkeypatch.setattr(features, "answers_here", None)
    there = probe_features(student, clips, keep_speech=True)
    assert here.clips == there.clips and [clip.reject_reason for clip in here.clips].count("not_a_video") == 1
    assert here.features.keys() == there.features.keys()
    for name, values in here.features.items():
        np.testing.assert_allclose(there.features[name], values, atol=1e-5, err_msg=name)
    for one, other in zip(here.speech, there.speech, strict=True):
        np.testing.assert_array_equal(one, other)
