"""A machine that cannot run the runtime is told so in one line that says which can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_runtime.support import missing_onnxruntime, unsupported


@pytest.mark.parametrize("version", ["2.28", "2.36", "3.0", "2.41.9000"])
def test_a_supported_machine_hears_nothing(version: str) -> None:
    assert unsupported(64, "linux", ("glibc", version)) is None


@pytest.mark.parametrize(
    ("bits", "libc", "found"),
    [
        (32, ("glibc", "2.36"), "found a 32-bit Python"),
        (64, ("glibc", "2.27"), "found glibc 2.27"),
        (64, ("glibc", "2.3.1"), "found glibc 2.3.1"),
        (64, ("", ""), "musl"),
    ],
)
def test_another_one_is_told_what_is_supported(bits: int, libc: tuple[str, str], found: str) -> None:
    line = unsupported(bits, "linux", libc)
    assert line is not None
    assert found in line
    assert "64-bit Linux with glibc 2.28" in line
    assert "\n" not in line


def test_a_missing_onnxruntime_is_one_line() -> None:
    assert "pip install onnxruntime" in missing_onnxruntime(ModuleNotFoundError("No module named 'onnxruntime'"))
    assert "does not load: GLIBC_2.38" in missing_onnxruntime(ImportError("GLIBC_2.38 not found"))


@pytest.mark.parametrize("command", ["run", "inspect"])
def test_every_command_says_it_and_exits_2(command: str, tmp_path: Path) -> None:
    """Shows that without onnxruntime a command ends with one line and exit code 2, not with a traceback."""
    program = f"""
import sys
sys.modules["onnxruntime"] = None
from edge_runtime.cli.{command} import main
sys.exit(main({["--video", "x.mp4", "--model", "x.onnx"] if command == "run" else ["x.onnx"]!r}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
