"""Huge pages (2 MB) for processes that allocate many pictures: small pages come from the kernel one page fault at a time.

Over 804 sampled frames of 14 clips, huge pages cut decoding from 6.3 to 5.1 s, detection from 5.3 to 4.9 s, and page
faults from 160,000 to 5,000 (docs/log.md). glibc (2.35 or newer) reads this environment variable when a process starts;
other systems ignore it.
"""

import contextlib
import os
from collections.abc import Generator

HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""1: malloc asks the kernel for transparent huge pages; none are reserved (glibc manual, Memory Allocation Tunables)."""


@contextlib.contextmanager
def with_huge_pages() -> Generator[None]:
    """Gives huge pages to the processes that this one starts within the block."""
    before = {name: os.environ.get(name) for name in HUGE_PAGES}
    os.environ.update(HUGE_PAGES)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
