"""Sound of any number of channels, and sound whose kind changes in the middle."""

import numpy as np
import pytest
import soundfile

from pipeline.media.speech import read_at_native_rate, read_speech, stream_speech
from tests.support import clips


def level(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(float) ** 2)))


@pytest.mark.parametrize("channels", [9, 11, 13, 15, 17, 19, 23, 25, 64])
def test_channels_without_a_layout_are_averaged(tmp_path, channels):
    t = np.arange(32_000) / 16_000
    sound = np.stack([0.5 * np.sin(2 * np.pi * (200 + 30 * c) * t) for c in range(channels)], axis=1)
    soundfile.write(tmp_path / "array.wav", sound, 16_000)
    speech = read_speech(tmp_path / "array.wav", 0.0, None)
    assert np.abs(speech - 32_768 * sound.mean(axis=1)).max() <= 2
    left = read_at_native_rate(tmp_path / "array.wav", 32_000)
    assert np.abs(left - 32_768 * sound[:, 0]).max() <= 1


@pytest.mark.parametrize(
    ("suffix", "codec"), [("wv", "wavpack"), ("ogg", "libvorbis"), ("mka", "libopus"), ("caf", "pcm_s24be")]
)
def test_planes_of_many_channels_are_all_read(tmp_path, suffix, codec):
    t = np.arange(96_000) / 48_000
    sound = np.stack([0.5 * np.sin(2 * np.pi * 300 * t) * (c < 3) for c in range(9)], axis=1)
    soundfile.write(tmp_path / "array.wav", sound, 48_000)
    mapping = ["-mapping_family", 255] if codec == "libopus" else []
    clips.ffmpeg("-i", tmp_path / "array.wav", "-c:a", codec, *mapping, tmp_path / f"array.{suffix}")
    speech = read_speech(tmp_path / f"array.{suffix}", 0.2, 1.8)
    assert level(speech) == pytest.approx(32_768 * 0.5 / np.sqrt(2) / 3, rel=0.05)


CHANGES = {
    "channels": (("-ac", 1), ("-ac", 2)),
    "rate": (("-ar", 44_100), ("-ar", 22_050)),
    "both": (("-ac", 2, "-ar", 48_000), ("-ac", 1, "-ar", 32_000)),
}


def changing(folder, suffix: str, kind: str):
    """Two tones of two seconds, 440 and 880 Hz, joined byte by byte."""
    parts = []
    for number, options in enumerate(CHANGES[kind]):
        parts.append(folder / f"{number}.{suffix}")
        tone = f"sine=d=2:frequency={440 * (number + 1)}"
        clips.ffmpeg("-f", "lavfi", "-i", tone, *options, "-write_xing", 0, parts[-1])
    path = folder / f"joined.{suffix}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def pitch_hz(samples: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * 16_000 / len(samples))


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize("suffix", ["mp3", "aac", "ac3"])
def test_sound_whose_kind_changes_is_heard_to_its_end(tmp_path, suffix, kind):
    if suffix == "ac3" and kind == "rate":
        pytest.skip("AC-3 has no 22 kHz")
    if suffix == "aac":
        for number, options in enumerate(CHANGES[kind]):
            tone = f"sine=d=2:frequency={440 * (number + 1)}"
            clips.ffmpeg("-f", "lavfi", "-i", tone, *options, tmp_path / f"{number}.aac")
        path = tmp_path / "joined.aac"
        path.write_bytes(b"".join((tmp_path / f"{number}.aac").read_bytes() for number in (0, 1)))
    else:
        path = changing(tmp_path, suffix, kind)
    speech, reference = read_speech(path, 0.0, None), clips.ffmpeg_speech(path)
    assert len(speech) == pytest.approx(len(reference), abs=40)  # ffmpeg drops what its resampler holds at the change
    assert pitch_hz(speech[8_000:24_000]) == pytest.approx(440, abs=2)
    assert pitch_hz(speech[40_000:56_000]) == pytest.approx(880, abs=2)
    assert np.array_equal(np.concatenate(list(stream_speech(path))), speech)


def test_the_same_in_a_container_with_a_clock(tmp_path):
    path = tmp_path / "joined.mkv"
    clips.ffmpeg("-i", changing(tmp_path, "mp3", "channels"), "-c", "copy", path)
    speech = read_speech(path, 0.0, None)
    assert len(speech) / 16_000 == pytest.approx(4.05, abs=0.05)
    assert pitch_hz(read_speech(path, 2.5, 3.5)) == pytest.approx(880, abs=2)
