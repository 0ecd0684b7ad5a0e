from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource
from edge_runtime.memory import give_back
from trainer.heap import keep_freed

libc, size = ctypes.CDLL(None), 1 << 27
if not hasattr(libc, "mallopt"):
    raise SystemExit(3)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {keep}:
    keep_freed()
first, second = faults(), faults()
give_back()
print(first, second, faults())
"""


def page_faults(keep: bool) -> tuple[int, int, int]:
    """What 128 MB cost: at first, once they have been freed, and once they have been given back."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip("another C library than glibc")
    assert done.returncode == 0, done.stderr
    first, second, third = (int(word) for word in done.stdout.split())
    return first, second, third


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_memory_that_is_kept_is_not_cleared_again() -> None:
    """Shows that what is freed is mapped anew by default, that it is not once it is kept, and can be given back."""
    first, second, _ = page_faults(keep=False)
    assert second > first / 2
    first, second, third = page_faults(keep=True)
    assert second < first / 20
    assert third > first / 2
