"""Decoders that really fail; the child gets their names, such as "tests.support.poison_decoders:segfault"."""

import os
import signal
import threading


def segfault(path, grid, longest_side_px):
    os.kill(os.getpid(), signal.SIGSEGV)


def segfault_once(path, grid, longest_side_px):
    """Crashes the first process that decodes this path, and decodes in the next, as after memory corruption."""
    from pipeline.media.frames import DECODERS

    marker = f"{path}.has_crashed"
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGSEGV)
    yield from DECODERS["pyav"](path, grid, longest_side_px)


def hang(path, grid, longest_side_px):
    threading.Event().wait()


def decode_when_told(path, grid, longest_side_px):
    """Decodes once the file named by the environment variable GO exists."""
    from pipeline.media.frames import DECODERS

    while not os.path.exists(os.environ["GO"]):
        threading.Event().wait(0.05)
    yield from DECODERS["pyav"](path, grid, longest_side_px)


def hang_and_say_so(path, grid, longest_side_px):
    print(os.getpid(), flush=True)
    hang(path, grid, longest_side_px)


def eat_memory(path, grid, longest_side_px):
    """Takes more and more memory, like a decoder misled by a damaged header."""
    import numpy as np

    for position in range(10**6):
        yield position, position * 0.24, np.ones((1024, 1024, 16), np.uint8)


def eat_memory_once(path, grid, longest_side_px):
    """Leaks memory in the first call of a process, so that the next call has too little; a fresh process has enough."""
    import numpy as np

    from pipeline.media.frames import DECODERS

    if "leak" not in globals():
        globals()["leak"] = np.ones((150, 2**20), np.uint8)
    elif len(leak) == 150:  # noqa: F821
        np.ones((400, 2**20), np.uint8)
    yield from DECODERS["pyav"](path, grid, longest_side_px)


def bug(path, grid, longest_side_px):
    raise ZeroDivisionError("a bug in the decoder's own code")


def as_the_file_is_named(path, grid, longest_side_px):
    """Crashes on a file named segfault*, hangs on hang*, eats memory on memory*, and decodes any other file."""
    from pipeline.media.frames import DECODERS

    poison = {"segfault": segfault, "hang": hang, "memory": eat_memory}.get(
        os.path.basename(path).split(".")[0], DECODERS["pyav"]
    )
    return poison(path, grid, longest_side_px)
