"""Whatever the bytes of a file are, it gives an answer or a reject with a reason that was foreseen. `make fuzz` does the same
with whole jobs."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.decoding.isolated_decoder import IsolatedDecoder
from pipeline.decoding.requests import DecodeRequest, LengthRequest
from pipeline.rejects import Rejected
from tests.support import clips
from tests.support.containers import SOUNDS, VIDEOS
from tests.support.mutations import mutated


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, bytes]:
    """A second of a stamped clip and a tone, in every container."""
    folder = tmp_path_factory.mktemp("originals")
    source = clips.write_stamped_clip(folder / "source.mp4", np.arange(25) / 25, tone_s=(0.0, 1.0))
    for suffix, options in {**VIDEOS, **SOUNDS}.items():
        rate = () if "-ar" in options else ("-ar", 48_000)
        picture = ("-vn",) if suffix in SOUNDS else ("-s", "352x288")
        clips.ffmpeg("-i", source, *picture, *rate, *options, folder / f"original.{suffix}")
    return {path.suffix: path.read_bytes() for path in sorted(folder.glob("original.*"))}


@pytest.fixture(scope="module")
def decoder():
    with IsolatedDecoder() as decoder:
        yield decoder


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_every_answer_to_a_mutated_file_was_foreseen(originals, decoder, tmp_path_factory, data, seed):
    suffix, other = (data.draw(st.sampled_from(sorted(originals))) for _ in range(2))
    path = tmp_path_factory.mktemp("mutated") / f"file{suffix}"
    path.write_bytes(mutated(originals[suffix], seed, originals[other]))
    traces = [_trace(ask, decoder, str(path)) for ask in (_length, _utterance, _stream)]
    assert not any(traces), f"{suffix}, seed {seed}: {traces}"


def _trace(ask: Callable[[IsolatedDecoder, str], None], decoder: IsolatedDecoder, path: str) -> str | None:
    """Of an error that nobody foresaw."""
    try:
        ask(decoder, path)
    except Rejected as rejected:
        return rejected.trace
    return None


def _length(decoder: IsolatedDecoder, path: str) -> None:
    decoder.ask(LengthRequest(path=path))


def _utterance(decoder: IsolatedDecoder, path: str) -> None:
    decoder.submit(DecodeRequest(video_path=path, audio_path=path, start_s=0.0, end_s=8.0))
    decoder.result()


def _stream(decoder: IsolatedDecoder, path: str) -> None:
    for _ in decoder.stream(path):
        pass
