"""Memory that was freed goes back to the system.

glibc keeps what a large model leaves behind, when it has been parsed and when it is replaced: the published IMFE runs
in 449 MB of which 159 are such leftovers, and a model of 54 MB that had been replaced still held 170. Trimming takes
0.1 ms where there is nothing, and 0.5 ms a MB where there is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_MIB = 1 << 20


def give_back() -> None:
    """Do it now, on this thread; nothing where the C library has no such call (it is glibc's)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def on_pages_of_its_own() -> Iterator[None]:
    """Meanwhile, what is large is allocated by itself: fresh pages, which take no memory until they are written to and
    go back when it is freed. For what opens models, where copies of weights come and go between what stays.

    glibc begins like that, but a model's bytes freed once teach it to keep blocks of up to 32 MiB among the others: the
    published IMFE in int8, opened four times to choose its threads and lanes, then ran in 243 MB instead of 216.
    Afterwards up to 8 MiB are kept, as for a camera's frame of 1080 lines (6). A 4K frame (25) gets fresh pages thirty
    times a second, and takes 23 ms to decode instead of 21.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_THRESHOLD, _MIB // 8)
    try:
        yield
    finally:
        mallopt(_M_MMAP_THRESHOLD, 8 * _MIB)
        mallopt(_M_TRIM_THRESHOLD, 16 * _MIB)
