"""The runtime never pulls torch."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import edge_runtime


def test_no_module_of_the_runtime_imports_torch() -> None:
    """Shows that after importing every module of edge_runtime neither torch nor the trainer is loaded."""
    modules = [info.name for info in pkgutil.walk_packages(edge_runtime.__path__, "edge_runtime.")]
    assert "edge_runtime.streams.rtstgcn" in modules
    code = "\n".join(
        [f"import {name}" for name in modules]
        + ["import sys", "print([n for n in sys.modules if n.split('.')[0] in ('torch', 'trainer')])"]
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert run.stdout.strip() == "[]"
