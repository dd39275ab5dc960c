"""Decoders that fail for real, named to the child as "tests.faults.poison_decoders:segfault" and the like."""

import os
import signal
import threading


def segfault(path, grid, longest_side_px):
    os.kill(os.getpid(), signal.SIGSEGV)


def segfault_once(path, grid, longest_side_px):
    """Crashes the first process that decodes this path, and decodes in the next: what spoilt memory looks like."""
    from pipeline.frames import DECODERS

    marker = f"{path}.has_crashed"
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGSEGV)
    yield from DECODERS["pyav"](path, grid, longest_side_px)


def hang(path, grid, longest_side_px):
    threading.Event().wait()


def hang_and_say_so(path, grid, longest_side_px):
    print(os.getpid(), flush=True)
    hang(path, grid, longest_side_px)


def bug(path, grid, longest_side_px):
    raise ZeroDivisionError("a bug in the decoder's own code")


def as_the_file_is_named(path, grid, longest_side_px):
    """Crashes on a file named segfault*, hangs on hang*, and decodes any other."""
    from pipeline.frames import DECODERS

    poison = {"segfault": segfault, "hang": hang}.get(os.path.basename(path).split(".")[0], DECODERS["pyav"])
    return poison(path, grid, longest_side_px)
