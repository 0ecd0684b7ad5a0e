"""Memory that was freed stays for the next tensor; `edge_runtime.memory.give_back` is the opposite.

Torch asks the C library for every tensor. Large ones it maps afresh each time, and the system clears every page at its
first use: as long as ten passes over the tensor (18 ms for 32 MB). Smaller ones are in a heap, seldom given back.
The call is glibc's, which alone needs it; elsewhere nothing is done.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed() -> None:
    """Keep what is freed for the next tensor: for steps that are alike, which then map nothing after the first one.

    A step of the published RT-ST-GCN takes 1.7 ms a frame at any length; without, 2.4 ms a frame of a trial of 4000.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # never
