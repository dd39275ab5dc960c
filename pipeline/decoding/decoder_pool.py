"""Several decoders at work on many files."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

from pipeline.decoding.isolated_decoder import MEMORY_BYTES, IsolatedDecoder

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class DecoderPool:
    """Threads that each have a decoder of their own, in a process of its own."""

    def __init__(self, decoders: int, memory_bytes: int = MEMORY_BYTES):
        self.memory_bytes = memory_bytes
        self.threads = ThreadPoolExecutor(decoders)
        self.of_thread = threading.local()
        self.started: list[IsolatedDecoder] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.shutdown(cancel_futures=True)
        for decoder in self.started:
            decoder.close()

    def map(self, work: Callable[[IsolatedDecoder, Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """`work(decoder, item)` of each item, in order."""
        return self.threads.map(lambda item: work(self._decoder(), item), items)

    def _decoder(self) -> IsolatedDecoder:
        if not hasattr(self.of_thread, "decoder"):
            self.of_thread.decoder = IsolatedDecoder(memory_bytes=self.memory_bytes)
            self.started.append(self.of_thread.decoder)
        return self.of_thread.decoder
