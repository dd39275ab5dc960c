"""The ways of decoding that `bench decode` compares, and the process that each of them runs in.

A way takes a path and returns how many RGB pictures (HxWx3 or 3xHxW uint8) it made. One thread each.
"""

import importlib.util
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from pipeline.media.frame_grid import sample_times

ANSWER_LIMIT_S = 120.0
"""A decoder that takes longer for one clip counts as hung; the longest clip of our tests takes 6 s."""


@dataclass(frozen=True)
class Answer:
    """A way's result for one clip: number of pictures, wall seconds and CPU seconds; or why there is none."""

    pictures: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    problem: str = ""


def _pyav_frames(path: str) -> Iterator[Any]:
    import av

    with av.open(path) as container:
        container.streams.video[0].thread_count = 1
        yield from container.decode(container.streams.video[0])


def _nothing_made_of_it(path: str) -> int:
    """The floor: decodes every frame and makes no picture."""
    return sum(1 for _ in _pyav_frames(path))


def _pyav_whole(path: str) -> int:
    return sum(len(frame.to_ndarray(format="rgb24")) > 0 for frame in _pyav_frames(path))


def _pyav_every_sixth(path: str) -> int:
    """The plain way: decodes all frames and makes a picture of the first one at or after each grid time."""
    count, due_s = 0, 0.0
    for frame in _pyav_frames(path):
        if frame.time is not None and frame.time >= due_s - 1e-3:
            frame.to_ndarray(format="rgb24")
            count, due_s = count + 1, due_s + 0.24
    return count


def _decord_reader(path: str) -> Any:
    import decord

    return decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)


def _decord_whole(path: str) -> int:
    reader = _decord_reader(path)
    return sum(len(reader.next().asnumpy()) > 0 for _ in range(len(reader)))


def _decord_every_sixth(path: str) -> int:
    reader = _decord_reader(path)
    return len(reader.get_batch(_on_grid(len(reader), reader.get_avg_fps())).asnumpy())


def _torchcodec_decoder(path: str) -> Any:
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(path, num_ffmpeg_threads=1, seek_mode="exact")


def _torchcodec_whole(path: str) -> int:
    return sum(frame.numpy().size > 0 for frame in _torchcodec_decoder(path))


def _torchcodec_every_sixth(path: str) -> int:
    decoder = _torchcodec_decoder(path)
    frames = _on_grid(decoder.metadata.num_frames, decoder.metadata.average_fps)
    return len(decoder.get_frames_at(frames).data.numpy())


def _on_grid(frames: int, frames_per_s: float) -> list[int]:
    """Every 6th frame at 25 frames per second; at another rate, the frame on display every 0.24 s."""
    times_s = sample_times(0.0, frames / frames_per_s)
    return np.minimum(np.floor(times_s * frames_per_s + 1e-6).astype(int), frames - 1).tolist()


def _job(decoder: str) -> Callable[[str], int]:
    def sampled(path: str) -> int:
        from pipeline.media.frames import FrameRequest, sample_frames

        return len(sample_frames(path, FrameRequest(longest_side_px=None, decoder=decoder)).images)

    return sampled


WAYS: dict[tuple[str, str], Callable[[str], int]] = {
    ("whole", "floor"): _nothing_made_of_it,
    ("whole", "pyav"): _pyav_whole,
    ("whole", "decord"): _decord_whole,
    ("whole", "torchcodec"): _torchcodec_whole,
    ("sampled", "pyav"): _job("pyav"),
    ("sampled", "decord"): _job("decord"),
    ("sampled", "pyav, plain"): _pyav_every_sixth,
    ("sampled", "decord, plain"): _decord_every_sixth,
    ("sampled", "torchcodec, plain"): _torchcodec_every_sixth,
}
"""(whole or sampled, way) -> function. `pyav` and `decord` sampled are those of `emovox label --crops.decoder`."""


def library(way: str) -> str:
    """The package that a way uses."""
    return "pyav" if way == "floor" else way.partition(",")[0]


def installed(way: str) -> bool:
    return importlib.util.find_spec({"pyav": "av"}.get(library(way), library(way))) is not None


class WayProcess:
    """One way in its own process, so that neither its threads nor its death disturb the others."""

    def __init__(self, kind: str, way: str):
        self.key = (kind, way)
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.ours, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(self.key, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def __call__(self, path: str) -> Answer:
        self.ours.send(path)
        try:
            if self.ours.poll(ANSWER_LIMIT_S):
                return self.ours.recv()
            problem = f"no answer in {ANSWER_LIMIT_S:.0f} s"
        except EOFError:
            self.process.join()
            problem = f"the process died with exit code {self.process.exitcode}"
        self.close()
        self._start()
        return Answer(problem=problem)

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.ours.close()


def _serve(key: tuple[str, str], connection: Connection) -> None:
    way = WAYS[key]
    while True:
        try:
            path = connection.recv()
        except EOFError:
            return
        connection.send(_timed(way, path))


def _timed(way: Callable[[str], int], path: str) -> Answer:
    began, cpu_began = time.perf_counter(), time.process_time()
    try:
        pictures = way(path)
    except Exception as error:  # noqa: BLE001 (each library has its own exceptions; this bench lists them all)
        said = str(error).strip().splitlines() or [""]
        return Answer(problem=f"{type(error).__name__}: {said[0][:200]}")
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_began
    return Answer(pictures, seconds, cpu_s, "" if pictures else "no picture")
