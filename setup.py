"""Refuses an unsupported machine before pip looks for wheels that do not exist; all else is in pyproject.toml."""

import runpy
import sys
from pathlib import Path

from setuptools import setup

if reason := runpy.run_path(str(Path(__file__).parent / "edge_runtime" / "support.py"))["unsupported"]():
    sys.exit(f"error: {reason}")

setup()
