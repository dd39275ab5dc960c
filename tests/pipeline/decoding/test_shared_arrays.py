"""Contract: arrays come out as they went in; one that is still looked at is never written over; memory is used again."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from pipeline.decoding import shared_arrays
from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.decoding.requests import DecodeRequest
from pipeline.decoding.shared_arrays import Place, SharedArrays, SharedBuffers
from pipeline.rejects import Rejected

SPEECH = (100,)


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def of(value: int, pixels: int = 5000) -> list[np.ndarray]:
    """Speech and two pictures, all of one value."""
    return [np.full(SPEECH, value, np.int16), *(np.full((2, pixels, 3), value, np.uint8) for _ in range(2))]


def sent(sender: SharedBuffers, receiver: SharedArrays, ends, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What comes out at the other end, which before that tells what it has no use for any more."""
    sender.take_back(receiver.released())
    sender.begin()
    places = [sender.place(sender.lay(array)) for array in arrays]
    sender.send(ends[0])
    return receiver.receive(ends[1], places)


def test_arrays_that_are_still_looked_at_stay_what_they_were(ends):
    sender, receiver, rng = SharedBuffers(), SharedArrays(), np.random.default_rng(0)
    kept = {}
    for value in range(1, 60):
        arrays = sent(sender, receiver, ends, of(value, int(rng.integers(1, 9000))))
        assert all((array == value).all() for array in arrays)
        if value % 7 == 0:
            kept[value] = arrays[int(rng.integers(3))][1:]  # a part of one of them holds them all
        for value, part in kept.items():
            assert len(part) and (part == value).all()


def test_a_receiver_that_writes_into_its_arrays_spoils_no_later_one(ends):
    sender, receiver = SharedBuffers(), SharedArrays()
    for value in (1, 2, 3):
        arrays = sent(sender, receiver, ends, of(value))
        assert all((array == value).all() for array in arrays)
        for array in arrays:
            array[:] = 99


def test_what_is_given_back_is_used_again_but_for_large_memory(ends, monkeypatch):
    sender, receiver = SharedBuffers(), SharedArrays()
    if not Path("/proc/self/fd").exists():
        pytest.skip("open files are counted on Linux only")

    def open_files_after(values: range) -> int:
        for value in values:
            arrays = sent(sender, receiver, ends, of(value))
            assert all((array == value).all() for array in arrays)
        del arrays
        return len(os.listdir("/proc/self/fd"))

    few = open_files_after(range(1, 4))
    many = [sent(sender, receiver, ends, of(value)) for value in range(1, 40)]
    assert all((array == value).all() for value, arrays in enumerate(many, 1) for array in arrays)
    del many
    assert open_files_after(range(4, 60)) <= few + 2 * shared_arrays.KEPT_FREE
    monkeypatch.setattr(shared_arrays, "KEPT_BYTES", 10)
    assert open_files_after(range(60, 90)) <= few + 2 * shared_arrays.KEPT_FREE


def test_nothing_and_pictures_without_sound_can_be_sent(ends):
    sender, receiver = SharedBuffers(), SharedArrays()
    (nothing,) = sent(sender, receiver, ends, [np.zeros(0, np.int16)])
    assert nothing.shape == (0,)
    _, picture = sent(sender, receiver, ends, [np.zeros(0, np.int16), np.full((3, 4, 3), 5, np.uint8)])
    assert (picture == 5).all()


def test_an_end_that_is_closed_is_told(ends):
    ends[0].close()
    with pytest.raises(EOFError):
        SharedArrays().receive(ends[1], [Place(0, (1,), "u1")])


def test_frames_of_one_utterance_outlive_the_decoding_of_others(data_dir):
    clips = sorted((data_dir / "video" / "labelled").glob("*.mp4"))[:3]
    requests = [
        DecodeRequest(video_path=str(c), audio_path=str(c), start_s=0.0, end_s=2.0, speech=False) for c in clips
    ]
    with IsolatedDecoder() as decoder:

        def frames(request: DecodeRequest) -> list[np.ndarray]:
            decoder.submit(request)
            return decoder.result().frames.images

        first = frames(requests[0])
        copies = [image.copy() for image in first]
        for request in requests[1:] * 3:
            frames(request)
        assert all((image == copy).all() for image, copy in zip(first, copies, strict=True))
        again = frames(requests[0])
        assert all((image == copy).all() for image, copy in zip(again, copies, strict=True))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="memory of open files is counted on Linux only")
def test_a_message_that_is_given_up_holds_no_large_memory(monkeypatch):
    monkeypatch.setattr(shared_arrays, "KEPT_BYTES", 2 * 2**20)
    large = np.ones(8 * 2**20, np.uint8)
    sender = SharedBuffers(most_bytes=9 * 2**20)

    def held_bytes() -> int:
        return sum(512 * os.stat(file.path).st_blocks for file in os.scandir("/proc/self/fd") if _is_buffer(file.path))

    sender.begin()
    sender.lay(large)
    with pytest.raises(MemoryError):
        sender.lay(large)
    assert held_bytes() >= large.nbytes
    sender.drop()
    assert held_bytes() < large.nbytes


def _is_buffer(descriptor: str) -> bool:
    try:
        return "emovox" in os.readlink(descriptor)
    except OSError:
        return False


def test_a_reject_after_the_frames_leaves_no_frames_in_the_decoder(data_dir):
    """The clip has pictures and no sound, which is found after they are decoded."""
    silent = str(data_dir / "video" / "labelled" / "EAMM_MEAD_contempt.mp4")
    with IsolatedDecoder() as decoder:
        held = []
        for _ in range(3):
            decoder.submit(DecodeRequest(video_path=silent, audio_path=silent, start_s=0.0, end_s=None))
            with pytest.raises(Rejected):
                decoder.result()
            files = [file.path for file in os.scandir(f"/proc/{decoder.child_pid}/fd") if _is_buffer(file.path)]
            held.append(len(files))
        assert held[-1] == held[0] <= 2
