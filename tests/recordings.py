"""Where the recordings are that some tests need; they are never committed, and without them those tests skip."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def recording(pattern: str) -> Path:
    """The first file of the recordings' folder that matches; skips the test where there is none."""
    root = Path(os.environ.get("EDGE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    for path in sorted(root.glob(pattern)):
        return path
    pytest.skip(f"recording {pattern} is not in {root}; set EDGE_DATA to the folder of recordings")
