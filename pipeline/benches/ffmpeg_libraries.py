"""FFmpeg's shared libraries for torchcodec, whose package has none: we use those of PyAV's package, so that both decode with
the same FFmpeg and nothing has to be installed on the machine."""

import contextlib
import os
import re
import tempfile
from collections.abc import Generator
from pathlib import Path

import av

UNDER_PYAVS_NAMES = re.compile(r"(lib[\w-]+?)-[0-9a-f]{8}(\.so\.\d+)")
"""auditwheel's name for a library that it packs: libavutil-5809ad29.so.60.26.102 for libavutil.so.60."""


@contextlib.contextmanager
def found_by_new_processes() -> Generator[None]:
    """Lets processes that this one starts within the block find the libraries, under PyAV's names and their own. Does nothing
    unless PyAV is one of its Linux packages; then torchcodec looks for the system's libraries."""
    packed = Path(av.__file__).parents[1] / "av.libs"
    before = os.environ.get("LD_LIBRARY_PATH")
    with tempfile.TemporaryDirectory(prefix="emovox-") as folder:
        for library in packed.glob("*.so*"):
            Path(folder, library.name).symlink_to(library)
            if name := UNDER_PYAVS_NAMES.match(library.name):
                Path(folder, "".join(name.groups())).symlink_to(library)
        os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [folder, before]))
        try:
            yield
        finally:
            os.environ.pop("LD_LIBRARY_PATH") if before is None else os.environ.update(LD_LIBRARY_PATH=before)
