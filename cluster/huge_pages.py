"""Memory for pictures in pages of 2 MB: a process that allocates many is given each small page by the kernel, one by one.

Over 804 sampled frames of 14 clips decoding took 5.1 s with huge pages and 6.3 without, the detector 4.9 and 5.3, and the
page faults went from 160,000 to 5,000 (docs/log.md). It is an environment variable that glibc reads when a process starts
(2.35 or newer); other systems pass over it.
"""

import contextlib
import os
from collections.abc import Generator

HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""1: malloc asks the kernel for huge pages where it has them at hand; none are set aside (glibc manual, Memory Allocation
Tunables)."""


@contextlib.contextmanager
def with_huge_pages() -> Generator[None]:
    """Processes that this one starts within the block have them."""
    before = {name: os.environ.get(name) for name in HUGE_PAGES}
    os.environ.update(HUGE_PAGES)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
