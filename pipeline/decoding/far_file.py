"""A file that only the caller can read, as a file in the decoder process."""

import io
from collections.abc import Callable


class FarFile(io.RawIOBase):
    """`size` bytes, of which `ask(start, size)` fetches a range."""

    def __init__(self, name: str, size: int, ask: Callable[[int, int], bytes]):
        super().__init__()
        # without its folders and scheme: of what looks like a network address, ffmpeg reads 700 kB at a time
        self.name, self.size, self.ask = name.rpartition("/")[2], size, ask
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        self.position = max(0, start + offset)
        return self.position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self.size - self.position)
        size = left if size < 0 else min(size, left)
        data = self.ask(self.position, size) if size else b""
        self.position += len(data)
        return data
