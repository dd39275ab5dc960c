"""A video that kills or hangs its decoder costs itself alone. The faults are real: a segfault, a hang, a SIGKILL."""

import os
import select
import signal
import struct
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from cluster.failures import UserError
from cluster.working_tree import PROJECT_ROOT
from pipeline.decoding import messages
from pipeline.decoding.deadline import Deadline
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.decoding.requests import DecodeRequest, LengthRequest
from pipeline.media.frames import FrameRequest, sample_frames
from pipeline.media.limits import CREDITED_BYTES_PER_S
from pipeline.media.speech import read_speech, stream_speech
from pipeline.rejects import Rejected, RejectReason
from tests.support import clips

needs_pidfd = pytest.mark.skipif(sys.platform != "linux", reason="waits for a process by its Linux pidfd")
HASTY = Deadline(to_open_s=1.0, per_media_s=0.0)


@pytest.fixture(scope="module")
def clip(data_dir) -> str:
    return str(data_dir / "video" / "unlabelled" / "SadTalker_WDA_EdMarkey0_000.mp4")


def request_for(clip: str, **changes) -> DecodeRequest:
    return DecodeRequest(**{"video_path": clip, "audio_path": clip, "start_s": 1.0, "end_s": 2.5, **changes})


def decode(decoder: IsolatedDecoder, request: DecodeRequest):
    """The utterance, or the reason why there is none."""
    decoder.submit(request)
    try:
        return decoder.result()
    except Rejected as rejected:
        return rejected.reason


def assert_is_whole(utterance) -> None:
    assert len(utterance.frames.images) == 7
    assert len(utterance.speech) == 24_000


def test_the_child_gives_what_the_decoders_give(clip):
    with IsolatedDecoder() as decoder:
        got = decode(decoder, request_for(clip))
    frames, speech = sample_frames(clip, FrameRequest(start_s=1.0, end_s=2.5)), read_speech(clip, 1.0, 2.5)
    assert all(np.array_equal(a, b) for a, b in zip(got.frames.images, frames.images, strict=True))
    assert got.frames.indices.tolist() == frames.indices.tolist()
    assert got.frames.times_s.tolist() == frames.times_s.tolist()
    assert np.array_equal(got.speech, speech)
    assert got.decode_s > 0


def test_a_segfault_costs_one_utterance(clip):
    with IsolatedDecoder() as decoder:
        assert_is_whole(decode(decoder, request_for(clip)))
        poison = request_for(clip, decoder="tests.support.poison_decoders:segfault")
        assert decode(decoder, poison) == RejectReason.DECODER_CRASHED
        assert_is_whole(decode(decoder, request_for(clip)))


def test_a_hang_costs_one_utterance_and_its_deadline(clip):
    with IsolatedDecoder(HASTY) as decoder:
        poison = request_for(clip, decoder="tests.support.poison_decoders:hang")
        assert decode(decoder, poison) == RejectReason.DECODER_TIMEOUT
    with IsolatedDecoder() as decoder:
        assert_is_whole(decode(decoder, request_for(clip)))


def test_a_decoder_that_eats_memory_costs_one_utterance(clip):
    with IsolatedDecoder(memory_bytes=2**29) as decoder:
        assert_is_whole(decode(decoder, request_for(clip)))
        decoder.submit(request_for(clip, decoder="tests.support.poison_decoders:eat_memory"))
        with pytest.raises(Rejected, match="decoder_out_of_memory: more than 0.5 GiB are needed for the span"):
            decoder.result()
        assert_is_whole(decode(decoder, request_for(clip)))


def test_memory_that_earlier_videos_leaked_is_not_held_against_the_next(clip):
    with IsolatedDecoder(memory_bytes=2**29) as decoder:
        pids = set()
        for _ in range(2):
            assert_is_whole(decode(decoder, request_for(clip, decoder="tests.support.poison_decoders:eat_memory_once")))
            pids.add(decoder.child_pid)
        assert len(pids) == 2


def peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


@pytest.mark.slow
@needs_pidfd
@pytest.mark.parametrize("rate", ["1", pytest.param("0.05", id="still")])
def test_an_hour_in_one_utterance_is_refused_and_not_held(rate, tmp_path):
    """2.7 MB a frame, 15,000 frames: 41 GB if they were all kept. Of still pictures the decoder itself keeps few."""
    path = str(tmp_path / "hour.mp4")
    made = ["-f", "lavfi", "-i", f"color=s=1280x720:r={rate}", "-f", "lavfi", "-i", "anullsrc=r=16000:cl=mono"]
    fast = ["-t", "3600", "-c:v", "libx264", "-preset", "ultrafast", "-g", "600", "-c:a", "aac", "-b:a", "8k"]
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *made, *fast, path], check=True)
    with IsolatedDecoder(memory_bytes=2**30) as decoder:
        assert decode(decoder, request_for(path, start_s=0.0, end_s=None)) == RejectReason.DECODER_OUT_OF_MEMORY
        assert peak_bytes(decoder.child_pid) < 2**30 + 2**28


def test_a_crash_that_the_video_does_not_repeat_is_not_held_against_it(clip, tmp_path):
    path = tmp_path / "clip.mp4"
    path.symlink_to(clip)
    with IsolatedDecoder() as decoder:
        utterance = decode(decoder, request_for(str(path), decoder="tests.support.poison_decoders:segfault_once"))
    assert_is_whole(utterance)


def test_a_reject_keeps_the_child_and_its_reason(data_dir, clip):
    with IsolatedDecoder() as decoder:
        decode(decoder, request_for(clip))
        pid = decoder.child_pid
        text = str(data_dir / "video" / "derived" / "text_file.mp4")
        assert decode(decoder, request_for(text, end_s=None)) == RejectReason.NOT_A_VIDEO
        silent_film = str(data_dir / "video" / "odd" / "torchcodec_h265_video.mp4")
        no_sound = request_for(silent_film, start_s=0.0, end_s=None)
        assert decode(decoder, no_sound) == RejectReason.NO_AUDIO_STREAM
        assert decoder.child_pid == pid


def test_an_error_that_nobody_foresaw_costs_one_utterance_and_is_named_with_its_traceback(clip):
    with IsolatedDecoder() as decoder:
        decoder.submit(request_for(clip, decoder="tests.support.poison_decoders:bug"))
        said = "damaged_video: unforeseen ZeroDivisionError: a bug in the decoder's own code"
        with pytest.raises(Rejected, match=said) as rejected:
            decoder.result()
        assert "in bug" in rejected.value.trace
        assert_is_whole(decode(decoder, request_for(clip)))


def test_a_decoder_that_is_not_there_is_the_users_to_mend(clip):
    with IsolatedDecoder() as decoder:
        for name in ("tests.support.no_such_file:decode", "tests.support.poison_decoders:no_such_name"):
            decoder.submit(request_for(clip, decoder=name))
            with pytest.raises(UserError, match=name):
                decoder.result()


def test_the_child_is_replaced_after_its_requests_and_when_it_was_killed(clip):
    with IsolatedDecoder(max_requests=2) as decoder:
        pids = []
        for _ in range(3):
            assert_is_whole(decode(decoder, request_for(clip)))
            pids.append(decoder.child_pid)
        assert pids[0] == pids[1] != pids[2]
        os.kill(decoder.child_pid, signal.SIGKILL)
        assert_is_whole(decode(decoder, request_for(clip)))


def test_a_busy_caller_does_not_cost_a_finished_result(clip):
    """The deadline has passed when the caller comes, but the answer is there."""
    with IsolatedDecoder(Deadline(to_open_s=60.0)) as decoder:
        decoder.submit(request_for(clip))
        child = decoder._child
        assert child._message() == (messages.SPAN, 1.5)
        select.select([child.socket], [], [])
        child.allowed_s = 0.0
        assert child._message()[0] == messages.ARRAYS


PAUSED = """
import sys
from pipeline.decoding.deadline import Deadline
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.decoding.requests import DecodeRequest
spans = dict(start_s=1.0, end_s=2.5, video_path=sys.argv[1], audio_path=sys.argv[1])
with IsolatedDecoder(Deadline(to_open_s=4.0, per_media_s=0.0)) as decoder:
    decoder.submit(DecodeRequest(**spans))
    decoder.result()
    decoder.submit(DecodeRequest(**spans, decoder="tests.support.poison_decoders:decode_when_told"))
    print("waiting", flush=True)
    print(len(decoder.result().frames.images), flush=True)
"""


@pytest.mark.parametrize("pause_s", [7.0, pytest.param(17.0, marks=pytest.mark.slow)])
def test_time_in_which_all_stands_still_counts_for_no_deadline(clip, tmp_path, pause_s):
    """As in a container that is paused. The second pause is longer than the child's own alarm."""
    go = tmp_path / "go"
    command = [sys.executable, "-c", PAUSED, clip]
    with subprocess.Popen(
        command,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "GO": str(go)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as paused:
        assert paused.stdout.readline() == "waiting\n"
        select.select([], [], [], 0.5)  # so that it does wait
        os.killpg(paused.pid, signal.SIGSTOP)
        select.select([], [], [], pause_s)  # the fault itself: longer than the deadline
        go.touch()
        os.killpg(paused.pid, signal.SIGCONT)
        assert paused.stdout.readline() == "7\n"


def has_ended(process: int) -> bool:
    return bool(select.select([process], [], [], 20)[0])


@needs_pidfd
def test_closing_leaves_no_child(clip):
    decoder = IsolatedDecoder()
    decoder.submit(request_for(clip, decoder="tests.support.poison_decoders:hang"))
    child = os.pidfd_open(decoder.child_pid)
    decoder.close()
    assert has_ended(child)


@needs_pidfd
def test_a_killed_parent_leaves_no_hanging_child(clip):
    script = (
        "from pipeline.decoding.isolated_decoder import IsolatedDecoder\n"
        "from pipeline.decoding.requests import DecodeRequest\n"
        f"request = DecodeRequest(video_path={clip!r}, audio_path='', start_s=0, end_s=1, "
        "decoder='poison_decoders:hang_and_say_so')\n"
        "decoder = IsolatedDecoder(); decoder.submit(request); decoder.result()"
    )
    paths = os.pathsep.join([str(PROJECT_ROOT), str(PROJECT_ROOT / "tests" / "support")])
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE) as parent:
        try:
            child = os.pidfd_open(int(parent.stdout.readline()))
        finally:
            parent.kill()
        assert has_ended(child)


def test_the_child_does_not_import_torch_or_ray():
    probe = (
        "import sys, pipeline.decoding.child; print(sorted({'torch', 'ray', 'pyarrow', 'pandas'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[3]
    out = subprocess.run([sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_a_stream_whose_decoder_is_killed_goes_on_where_it_was(clip):
    whole = np.concatenate(list(stream_speech(clip)))
    with IsolatedDecoder() as decoder:
        pieces = decoder.stream(clip)
        heard = [next(pieces)]
        os.kill(decoder.child_pid, signal.SIGKILL)
        heard += list(pieces)
        assert np.array_equal(np.concatenate(heard), whole)
        assert_is_whole(decode(decoder, request_for(clip)))


def test_a_stream_that_nobody_hears_to_its_end_leaves_the_decoder_free(clip):
    with IsolatedDecoder() as decoder:
        next(decoder.stream(clip))
        assert_is_whole(decode(decoder, request_for(clip)))


def test_a_file_that_only_the_caller_can_read_has_the_same_length(clip):
    with IsolatedDecoder() as decoder, open(clip, "rb") as far_file:
        there = decoder.ask(LengthRequest(path="s3://bucket/clip", remote_bytes=os.path.getsize(clip)), far_file)
        assert there == pytest.approx(decoder.ask(LengthRequest(path=clip)), abs=0.05)


def test_the_deadline_goes_by_the_bytes_and_not_by_what_they_claim(tmp_path):
    """A header that claims a billion seconds: five thousand million seconds to wait."""
    path = tmp_path / "claims.mkv"
    clips.write_stamped_clip(path, np.arange(25) / 25)
    data = path.read_bytes()
    at = data.index(b"\x44\x89\x88") + 3
    path.write_bytes(data[:at] + struct.pack(">d", 1e12) + data[at + 8 :])
    assert len(data) < 2 * CREDITED_BYTES_PER_S
    with IsolatedDecoder(Deadline(to_open_s=1.0, per_media_s=0.5)) as decoder:
        hang = "tests.support.poison_decoders:hang"
        request = request_for(str(path), start_s=0.0, end_s=None, decoder=hang)
        assert decode(decoder, request) == RejectReason.DECODER_TIMEOUT
        assert decoder.child_pid is None


def test_a_failed_assertion_is_that_files_too(clip):
    with IsolatedDecoder() as decoder:
        poison = request_for(clip, decoder="tests.support.poison_decoders:assert_false")
        assert decode(decoder, poison) == RejectReason.DAMAGED_VIDEO
