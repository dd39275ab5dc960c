"""Files of any kind as `predict` reads them: decoded once, all of it heard, and a reject where there is nothing to hear."""

import shutil
import subprocess
import tracemalloc

import av
import imageio_ffmpeg
import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from cluster.failures import UserError
from modeling.emotions import EMOTIONS
from modeling.students.build import StudentConfig, build_student
from modeling.students.head import EmotionHead
from pipeline.media.speech import read_speech, stream_speech
from pipeline.rejects import Rejected, RejectReason
from pipeline.students.file_prediction import ROWS_SCHEMA, PredictionOptions, predictions_of_file
from pipeline.students.prediction_tables import file_table, require_table_name, timeline_table, write_prediction_table
from pipeline.students.timelines import TimelineOptions
from tests.support.tones import tone

PRIOR = [0.6, 0.2, 0.05, 0.05, 0.04, 0.03, 0.02, 0.01]


@pytest.fixture(scope="module")
def student():
    torch.manual_seed(0)
    return build_student(StudentConfig(widths=(8, 16, 16), embedding=32)).eval()


def rows(student, paths, **options):
    import pyarrow as pa

    answers = [
        {"file": str(path)} | predictions_of_file(student, str(path), PredictionOptions(**options)) for path in paths
    ]
    return pa.Table.from_pylist(answers, schema=ROWS_SCHEMA)


def wav(path, samples, rate=16_000, **how):
    soundfile.write(path, samples, rate, **how)
    return path


def ffmpeg(*arguments) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y", *map(str, arguments)], check=True)


def test_the_stream_of_a_file_is_what_ffmpeg_writes(tmp_path):
    wav(tmp_path / "a.wav", np.stack([tone(300, 1, 5.3, 44_100), tone(500, 2, 5.3, 44_100)], 1), 44_100)
    ffmpeg("-i", tmp_path / "a.wav", "-ac", 1, "-ar", 16_000, tmp_path / "16k.wav")
    expected, _ = soundfile.read(tmp_path / "16k.wav", dtype="int16")
    assert np.array_equal(np.concatenate(list(stream_speech(tmp_path / "a.wav"))), expected)


@pytest.mark.parametrize("name", ["a.m4a", "a.mp3", "a.ogg", "a.flac", "late.mkv"])
def test_the_stream_equals_the_file_read_at_once(tmp_path, name):
    wav(tmp_path / "a.wav", tone(300, 1, 4.7, 44_100), 44_100)
    late = ["-itsoffset", 2.5] if name == "late.mkv" else []  # its picture begins 2.5 s before its sound
    picture = ["-f", "lavfi", "-i", "color=size=32x32:rate=25:duration=8"] if late else []
    ffmpeg(*picture, *late, "-i", tmp_path / "a.wav", tmp_path / name)
    streamed = np.concatenate(list(stream_speech(tmp_path / name)))
    assert np.array_equal(streamed, read_speech(tmp_path / name, 0, None)) and len(streamed) > 4.6 * 16_000


def test_a_hole_in_the_time_stamps_is_silence(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for start in (0, 16_000 * 60):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16_000), 1000, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    samples = np.concatenate(list(stream_speech(tmp_path / "a.mkv")))
    assert len(samples) == pytest.approx(61 * 16_000, abs=16)
    assert not samples[16_100 : 60 * 16_000 - 100].any() and np.count_nonzero(samples) == pytest.approx(32_000, abs=40)


def test_no_sound_of_a_long_file_is_left_out_and_each_span_counts_by_its_length(student, tmp_path):
    sound = np.concatenate([tone(200, 1, 10), tone(900, 2, 10), tone(400, 3, 5), np.zeros(8_000)])
    path = wav(tmp_path / "a.wav", sound)
    speech = read_speech(path, 0, None)
    spans = [speech[:160_240], speech[160_000:320_240], speech[320_000:]]
    expected = sum(
        w * student.logits_of_clip(torch.from_numpy(s)).softmax(0).numpy()
        for w, s in zip((10, 10, 5.5), spans, strict=True)
    )
    answer = predictions_of_file(student, str(path), PredictionOptions(embeddings=True))
    assert answer["seconds"] == pytest.approx(25.5)
    np.testing.assert_allclose(answer["probabilities"], expected / 25.5, atol=1e-6)


@pytest.mark.parametrize(("seconds", "used"), [(0.3, 0.3), (10, 10), (10.4, 10.015)])
def test_a_short_rest_is_left_out_unless_there_is_nothing_else(student, tmp_path, seconds, used):
    path = wav(tmp_path / "a.wav", tone(300, 1, seconds))
    heard = torch.from_numpy(read_speech(path, 0, None)[: round(used * 16_000)])
    answer = predictions_of_file(student, str(path), PredictionOptions(embeddings=True))
    np.testing.assert_allclose(answer["embedding"], student.outputs_of_clip(heard)[1], rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sound_that_is_no_number_is_rejected(student, tmp_path, value):
    sound = np.full(16_000, 0.1, np.float32)
    sound[8000] = value
    path = wav(tmp_path / "a.wav", sound, subtype="FLOAT")
    with pytest.raises(Rejected) as rejected:
        predictions_of_file(student, str(path), PredictionOptions())
    assert rejected.value.reason == RejectReason.DAMAGED_AUDIO


def test_what_cannot_be_heard_is_rejected_for_its_reason(student, tmp_path):
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("not sound")
    wav(tmp_path / "header.wav", np.zeros(0))
    wav(tmp_path / "silent.wav", np.zeros(48_000))
    wav(tmp_path / "hiss.wav", np.random.default_rng(0).normal(size=48_000) * 5e-4)
    found = {}
    for path in tmp_path.iterdir():
        with pytest.raises(Rejected) as rejected:
            predictions_of_file(student, str(path), PredictionOptions())
        found[path.stem] = rejected.value.reason.value
    assert found.pop("header") in ("damaged_audio", "too_short")
    assert found == {"zero": "empty_file", "text": "not_a_video", "silent": "silent", "hiss": "silent"}


@pytest.mark.parametrize("rate", [8_000, 96_000])
def test_rate_and_channels_change_little_and_files_and_arrays_agree(student, tmp_path, rate):
    t = np.arange(3 * rate) / rate
    sound = 0.3 * np.sin(2 * np.pi * 300 * t) * np.sin(2 * np.pi * 1.5 * t) ** 2
    stereo = np.stack([sound, sound], 1).astype(np.float32)
    path = wav(tmp_path / "a.wav", stereo, rate, subtype="PCM_16")
    of_file = predictions_of_file(student, str(path), PredictionOptions(embeddings=True))
    for array in (stereo, stereo.T, np.round(stereo * 32_767).astype(np.int16)):
        np.testing.assert_allclose(student.predict(array, rate), of_file["probabilities"], atol=0.02)
        assert student.embed(array, rate).shape == (32,)


def test_clipped_sound_is_counted(student, tmp_path):
    t = np.arange(48_000) / 16_000
    path = wav(tmp_path / "a.wav", np.clip(5 * np.sin(2 * np.pi * 200 * t), -1, 1))
    assert predictions_of_file(student, str(path), PredictionOptions())["clipped"] > 0.5
    assert (
        predictions_of_file(student, str(wav(tmp_path / "b.wav", tone(200, 1, 3))), PredictionOptions())["clipped"] == 0
    )


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [(0.5, [0]), (2, [0]), (4, [0, 0.5, 1, 1.5, 2]), (4.3, [0, 0.5, 1, 1.5, 2, 2.5]), (2.2, [0, 0.5])],
)
def test_the_windows_of_a_timeline_cover_the_file_and_sum_to_one(student, tmp_path, seconds, starts):
    path = wav(tmp_path / "a.wav", tone(300, 1, seconds))
    table = timeline_table(rows(student, [path], timeline=TimelineOptions()), {"prior": PRIOR})
    assert table["start_s"].to_pylist() == starts and table["end_s"].to_pylist()[-1] == pytest.approx(seconds, abs=0.3)
    assert table["end_s"].to_pylist() == [min(start + 2, seconds) for start in starts]
    for columns in (EMOTIONS, [f"{name}_corrected" for name in EMOTIONS]):
        sums = sum(table[name].to_numpy() for name in columns)
        np.testing.assert_allclose(sums, 1, atol=1e-5)
    speech = read_speech(path, 0, None)
    first = student.logits_of_clip(torch.from_numpy(speech[:32_240])).softmax(0)
    np.testing.assert_allclose([table[name][0].as_py() for name in EMOTIONS], first, atol=1e-6)


def test_a_silent_window_has_no_numbers_and_does_not_count_in_the_file(student, tmp_path):
    path = wav(tmp_path / "a.wav", np.concatenate([tone(300, 1, 10), np.zeros(20 * 16_000)]))
    found = rows(student, [path], timeline=TimelineOptions(window_s=1, hop_s=1))
    table = timeline_table(found, {"prior": PRIOR})
    emotion = table["emotion"].to_pylist()
    assert len(emotion) == 30 and None not in emotion[:10] and set(emotion[11:]) == {None}
    assert table["neutral"][20].as_py() is None and table["emotion_corrected"][20].as_py() is None
    speech = torch.from_numpy(read_speech(path, 0, 10.015))
    np.testing.assert_allclose(found["probabilities"][0].as_py(), student.logits_of_clip(speech).softmax(0), atol=1e-6)


def test_corrected_probabilities_are_the_raw_ones_over_the_prior(student, tmp_path):
    paths = [wav(tmp_path / f"{hz}.wav", tone(hz, 1, 2)) for hz in (200, 900)]
    table = file_table(rows(student, paths), {"prior": PRIOR, "prior_strength": 0.7})
    raw = np.array([table[name].to_numpy() for name in EMOTIONS])
    odds = raw / np.array(PRIOR)[:, None] ** 0.7
    given = np.array([table[f"{name}_corrected"].to_numpy() for name in EMOTIONS])
    np.testing.assert_allclose(given, odds / odds.sum(0), rtol=1e-5)
    assert table["emotion_corrected"].to_pylist() == [EMOTIONS[k] for k in odds.argmax(0)]
    assert table["emotion"].to_pylist() == [EMOTIONS[k] for k in raw.argmax(0)]


def test_a_student_without_a_prior_has_raw_answers_only(student, tmp_path):
    table = file_table(rows(student, [wav(tmp_path / "a.wav", tone(300, 1, 2))]), {})
    assert table["emotion"][0].as_py() in EMOTIONS
    assert table["emotion_corrected"].null_count == table["neutral_corrected"].null_count == 1


def test_a_head_adds_its_classes_to_files_and_windows(student, tmp_path):
    rng = np.random.default_rng(0)
    head = EmotionHead(("calm", "cross"), np.zeros(32), np.ones(32), rng.normal(size=(2, 32)), np.zeros(2), "x")
    path = wav(tmp_path / "a.wav", tone(300, 1, 3))
    found = rows(student, [path], timeline=TimelineOptions(), head=head, embeddings=True)
    table, windows = file_table(found, {}, head.classes), timeline_table(found, {}, head.classes)
    expected = head.probabilities(np.array(found["embedding"][0].as_py()))
    np.testing.assert_allclose([table["head_calm"][0].as_py(), table["head_cross"][0].as_py()], expected, atol=1e-5)
    assert table["head_emotion"][0].as_py() == head.classes[int(expected.argmax())]
    assert np.allclose(windows["head_calm"].to_numpy() + windows["head_cross"].to_numpy(), 1, atol=1e-6)


def test_the_tables_as_csv_and_as_parquet_say_the_same(student, tmp_path):
    found = rows(student, [wav(tmp_path / "a,b.wav", tone(300, 1, 3))], embeddings=True, timeline=TimelineOptions())
    for table, name in ((file_table(found, {"prior": PRIOR}), "files"), (timeline_table(found, {}), "windows")):
        for ending in ("csv", "parquet"):
            write_prediction_table(str(tmp_path / f"{name}.{ending}"), table)
        as_csv = pyarrow.csv.read_csv(tmp_path / f"{name}.csv")
        assert pq.read_table(tmp_path / f"{name}.parquet").equals(table)
        assert as_csv["file"].to_pylist() == table["file"].to_pylist()
        np.testing.assert_allclose(as_csv["anger"].to_numpy(), table["anger"].to_numpy(), rtol=1e-5)
    files = pyarrow.csv.read_csv(tmp_path / "files.csv")
    assert files["embedding_31"][0].as_py() == pytest.approx(found["embedding"][0][31].as_py(), rel=1e-5)


def test_lengths_and_names_that_cannot_be_are_refused(tmp_path):
    for window_s, hop_s in ((0.5, 0.5), (11, 1), (2, 3), (2, 0), (2, float("nan")), (float("nan"), 1)):
        with pytest.raises(UserError):
            TimelineOptions(window_s=window_s, hop_s=hop_s)
    with pytest.raises(UserError, match=r"\.parquet or \.csv"):
        require_table_name(str(tmp_path / "p.tsv"), "--out")


def peak_bytes(student, path) -> int:
    tracemalloc.start()
    predictions_of_file(student, str(path), PredictionOptions(timeline=TimelineOptions(window_s=10, hop_s=10)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_longer_file_takes_no_more_memory(student, tmp_path):
    """NumPy reports its arrays to tracemalloc; a minute more would be 2 MB."""
    minute = wav(tmp_path / "short.wav", tone(300, 1, 20, 8_000), 8_000)
    longer = wav(tmp_path / "long.wav", tone(300, 1, 80, 8_000), 8_000)
    assert peak_bytes(student, longer) < peak_bytes(student, minute) + 500_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hour.wav", "hour.m4a", pytest.param("hour.mp3", marks=pytest.mark.endurance)])
def test_an_hour_is_streamed_in_little_memory(student, tmp_path, name):
    """mp3 without an index, the worst case for seeking."""
    with soundfile.SoundFile(tmp_path / "hour.wav", "w", 16_000, 1, subtype="PCM_16") as file:
        for minute in range(60):
            file.write(tone(200 + 10 * minute, minute, 60))
    if name != "hour.wav":
        index = ["-write_xing", 0] if name.endswith("mp3") else []
        ffmpeg("-i", tmp_path / "hour.wav", *index, tmp_path / name)
    tracemalloc.start()
    total = sum(len(piece) for piece in stream_speech(tmp_path / name))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == pytest.approx(3600 * 16_000, abs=3_000) and peak < 2_000_000
    shutil.rmtree(tmp_path)
