"""Over real connections: the answers are those of `predict`, what cannot be heard has a reason, and nothing is kept or let in."""

import json
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import soundfile
import torch
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from pipeline.serving.batching import BatchingStudent
from pipeline.serving.uploads import shown_name
from pipeline.students.file_prediction import FilePredictor, PredictionOptions
from pipeline.students.prediction_tables import as_rows, file_columns, timeline_columns
from pipeline.students.timelines import TimelineOptions
from tests.support import clips
from tests.support.mutations import mutated
from tests.support.serving import RATE_HZ, serving, voice


def predicted(student, path: Path) -> tuple[dict, list[dict]]:
    """What `predict --timeline` says of the file."""
    predict = FilePredictor(student, PredictionOptions(timeline=TimelineOptions()))
    row = predict(str(path))
    predict.close()
    return as_rows(file_columns([row], student.meta))[0], as_rows(timeline_columns([row], student.meta))


def assert_same(answer: dict, row: dict) -> None:
    for name, value in row.items():
        if name == "file" or value is None:
            continue
        assert answer[name] == (pytest.approx(value, abs=1e-4) if isinstance(value, float) else value)


def test_answers_are_those_of_predict(address, small_student, tmp_path):
    path = voice(tmp_path / "a voice.wav")
    row, windows = predicted(small_student, path)
    as_body = requests.post(f"http://{address}/predict?name=a voice.wav&timeline=1", data=path.read_bytes())
    as_form = requests.post(f"http://{address}/predict?timeline=1", files={"file": path.open("rb")})
    assert as_body.status_code == as_form.status_code == 200 and as_body.json() == as_form.json()
    assert as_body.json()["file"] == "a voice.wav"
    assert_same(as_body.json(), row)
    assert len(as_body.json()["timeline"]) == len(windows) == 7
    for answer, window in zip(as_body.json()["timeline"], windows, strict=True):
        assert_same(answer, window)
    assert "timeline" not in requests.post(f"http://{address}/predict", data=path.read_bytes()).json()


def test_a_video_is_heard(address, small_student, tmp_path):
    clips.ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=d=3:s=128x128", "-f", "lavfi", "-i", "sine=d=3"), tmp_path / "clip.mp4"
    )
    answer = requests.post(f"http://{address}/predict?name=clip.mp4", data=(tmp_path / "clip.mp4").read_bytes()).json()
    assert_same(answer, predicted(small_student, tmp_path / "clip.mp4")[0])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04" + bytes(200), "not_a_video"),
        (b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", "not_a_video"),
    ],
)
def test_what_is_no_sound_has_its_reason(address, content, reason):
    answer = requests.post(f"http://{address}/predict?name=x.wav", data=content)
    assert answer.status_code == 422
    assert answer.json()["reject_reason"] == reason and answer.json()["meaning"]


def test_silence_is_no_emotion(address, tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(3 * RATE_HZ), RATE_HZ)
    answer = requests.post(f"http://{address}/predict", data=(tmp_path / "silent.wav").read_bytes())
    assert (answer.status_code, answer.json()["reject_reason"]) == (422, "silent")
    assert "emotion" not in answer.json()


def test_a_larger_file_is_refused_before_it_is_taken_in(address):
    told = requests.post(f"http://{address}/predict", data=bytes(2**20 + 1))
    assert told.status_code == 413 and "larger than 1 MiB" in told.json()["error"]
    pieces = requests.post(f"http://{address}/predict", data=(bytes(2**16) for _ in range(40)))  # says no length
    assert pieces.status_code == 413
    form = requests.post(f"http://{address}/predict", files={"file": bytes(2**20 + 9000)})
    assert form.status_code == 413


def test_requests_without_a_file_say_what_to_send(address):
    assert "as the body" in requests.post(f"http://{address}/predict").json()["error"]
    form = requests.post(f"http://{address}/predict", files={"sound": b"x"})
    assert form.status_code == 400 and "the field `file`" in form.json()["error"]
    wrong = requests.post(f"http://{address}/predict?timeline=1&window_s=99", data=b"x")
    assert wrong.status_code == 400 and "give 1 to 10 seconds" in wrong.json()["error"]


def test_a_connection_that_breaks_in_the_middle_of_a_file_harms_nobody(address, tmp_path):
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port))) as sender:
        sender.sendall(
            f"POST /predict HTTP/1.1\r\nHost: {address}\r\nContent-Length: 100000\r\n\r\n".encode() + bytes(500)
        )
    assert requests.post(f"http://{address}/predict", data=voice(tmp_path / "v.wav").read_bytes()).status_code == 200


def test_nothing_of_a_file_is_kept(address, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    sound = voice(tmp_path / "v.wav").read_bytes()
    assert requests.post(f"http://{address}/predict", files={"file": sound}).status_code == 200
    assert requests.post(f"http://{address}/predict", data=b"broken").status_code == 422
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/x.wav", "x.wav"),
        ("C:\\a\\b.mp3", "b.mp3"),
        ("a\n\x1b[31mb.wav", "a[31mb.wav"),
        ("", "upload"),
        (None, "upload"),
    ],
)
def test_a_name_from_outside_is_shown_without_its_folders_and_harmless(given, shown):
    assert shown_name(given) == shown


def test_a_foreign_page_and_a_foreign_name_are_refused(address):
    for headers, status in (({"Host": "evil.example"}, 421), ({"Origin": "https://evil.example"}, 403)):
        assert requests.post(f"http://{address}/predict", data=b"x", headers=headers).status_code == status
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://{address}/live", origin="https://evil.example")
    assert requests.get(f"http://{address}/student", headers={"Origin": f"http://{address}"}).status_code == 200


def test_with_a_token_nothing_is_answered_without_it(small_student, tmp_path):
    sound = voice(tmp_path / "v.wav").read_bytes()
    with serving(small_student, token="secret") as address:
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
            assert requests.post(f"http://{address}/predict", data=sound, headers=wrong).status_code == 401
        right = {"Authorization": "Bearer secret", "Host": "a.name.of.this.machine"}
        assert requests.post(f"http://{address}/predict", data=sound, headers=right).status_code == 200
        assert requests.get(f"http://{address}/student?token=secret").status_code == 200
        assert "secret" not in requests.get(f"http://{address}/").text
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://{address}/live")
        with connect(f"ws://{address}/live?token=secret"):
            pass


def test_live_speech_gets_the_windows_that_predict_gives(address, small_student, tmp_path):
    path = voice(tmp_path / "v.wav", seconds=4.0)
    samples, _ = soundfile.read(path, dtype="int16")
    _, windows = predicted(small_student, path)
    with connect(f"ws://{address}/live") as live:
        for start in range(0, len(samples), 1600):
            live.send(samples[start : start + 1600].tobytes())
        heard = [json.loads(live.recv(timeout=30)) for _ in range(4)]
    assert [answer["start_s"] for answer in heard] == [0.0, 0.5, 1.0, 1.5]
    for answer, window in zip(heard, windows, strict=False):
        assert_same(answer, window)


def test_live_silence_has_no_emotion(address):
    with connect(f"ws://{address}/live") as live:
        live.send(bytes(2 * 2 * RATE_HZ + 480))
        answer = json.loads(live.recv(timeout=30))
    assert answer["emotion"] is None and answer["neutral"] is None and answer["end_s"] == 2.0


@pytest.mark.parametrize(("message", "told"), [("words", "int16"), (b"odd", "int16"), (bytes(400_000), "longer than")])
def test_a_live_message_that_is_no_sound_ends_the_connection_with_a_reason(address, message, told):
    with connect(f"ws://{address}/live") as live:
        live.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            live.recv(timeout=30)
    assert told in closed.value.rcvd.reason


def test_what_waits_together_is_heard_together_with_the_same_answers(small_student):
    """Clips of two lengths, by many threads."""
    generator = torch.Generator().manual_seed(1)
    waves = [torch.randn(32_240 if n % 3 else 8_000, generator=generator) for n in range(40)]
    batching = BatchingStudent(small_student)
    with ThreadPoolExecutor(20) as pool:
        together = list(pool.map(batching.outputs_of_clip, waves))
    assert batching.passes < len(waves)
    for wave, (logits_E, embedding_D) in zip(waves, together, strict=True):
        alone_E, alone_D = small_student.outputs_of_clip(wave)
        torch.testing.assert_close(logits_E, alone_E, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(embedding_D, alone_D, atol=1e-4, rtol=1e-4)


def test_an_error_of_one_pass_reaches_its_callers_and_no_others(small_student):
    batching = BatchingStudent(small_student)
    with pytest.raises(ValueError, match="give mono samples"):
        batching.outputs_of_clip(torch.zeros(0))
    assert batching.outputs_of_clip(torch.ones(20_000))[0].shape == (8,)


@pytest.mark.slow
def test_a_hundred_broken_uploads_harm_nobody(address, tmp_path):
    """Mutated files from many senders at once; whole ones between them are answered as ever."""
    sound, rng = voice(tmp_path / "v.wav").read_bytes(), np.random.default_rng(5)
    broken = [mutated(sound, int(rng.integers(2**32)), sound) for _ in range(100)]

    def sent(content: bytes) -> requests.Response:
        return requests.post(f"http://{address}/predict", data=content)

    expected = sent(sound).json()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(sent, [each for pair in zip(broken, [sound] * 100, strict=True) for each in pair]))
    assert {answer.status_code for answer in answers} <= {200, 400, 413, 422}
    assert all(answer.json()["emotion"] == expected["emotion"] for answer in answers[1::2])
