"""Shows that what opening a model leaves behind goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FREE_EVERY_SECOND = """
import contextlib, sys
import numpy as np, psutil
from edge_runtime.memory import on_pages_of_its_own

model = np.ones(30 << 20, np.uint8)
del model  # from now on glibc keeps blocks of this size among the others
with on_pages_of_its_own() if sys.argv[1] == "apart" else contextlib.nullcontext():
    weights = [np.ones(1 << 20, np.uint8) for _ in range(60)]
full = psutil.Process().memory_info().rss
del weights[::2]
print((full - psutil.Process().memory_info().rss) / (1 << 20))
"""


def given_back_mib(how: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _FREE_EVERY_SECOND, how], check=True, capture_output=True, text=True, timeout=60
    )
    return float(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_every_second_of_many_blocks_is_given_back_as_it_is_freed() -> None:
    assert given_back_mib("apart") > 25
    assert given_back_mib("among the others") < 10, "glibc does it by itself by now: on_pages_of_its_own can go"
