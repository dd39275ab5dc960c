"""FFmpeg's shared libraries for torchcodec, whose package brings none: those that PyAV's package brings, so that both decode
with one FFmpeg and nothing has to be installed on the machine."""

import contextlib
import os
import re
import tempfile
from collections.abc import Generator
from pathlib import Path

import av

UNDER_PYAVS_NAMES = re.compile(r"(lib[\w-]+?)-[0-9a-f]{8}(\.so\.\d+)")
"""As auditwheel names a library that it packs: libavutil-5809ad29.so.60.26.102 for libavutil.so.60."""


@contextlib.contextmanager
def found_by_new_processes() -> Generator[None]:
    """Processes that this one starts within the block find them, under PyAV's names and their own. Elsewhere than in
    PyAV's Linux packages nothing is done, and torchcodec looks for those of the system."""
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
