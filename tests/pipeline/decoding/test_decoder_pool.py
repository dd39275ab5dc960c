"""Several decoders at once: answers in order, and no process left behind."""

import os
import threading

import numpy as np
import psutil

from pipeline.decoding.decoder_pool import DecoderPool
from pipeline.decoding.requests import LengthRequest
from tests.support import clips


def test_answers_come_in_order_and_every_decoder_ends_with_the_pool(tmp_path):
    paths = [str(clips.write_stamped_clip(tmp_path / f"{n}.mp4", np.arange(5 * n) / 25)) for n in range(1, 9)]
    together = threading.Barrier(2, timeout=60)

    def length(decoder, path):
        if path == paths[0] or path == paths[1]:
            together.wait()  # so that both threads have a decoder
        return decoder.ask(LengthRequest(path=path)), decoder.child_pid

    before = {child.pid for child in psutil.Process(os.getpid()).children()}
    with DecoderPool(2) as pool:
        found = list(pool.map(length, paths))
    assert [round(seconds * 5) for seconds, _ in found] == list(range(1, 9))
    assert len({pid for _, pid in found}) == 2
    assert {child.pid for child in psutil.Process(os.getpid()).children()} <= before
