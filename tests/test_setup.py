"""Shows that the build asks whether the machine is supported, before pip looks for wheels that do not exist."""

import platform
import runpy
import sys
from pathlib import Path

import pytest
import setuptools

SETUP = Path(__file__).parent.parent / "setup.py"


@pytest.fixture(autouse=True)
def _no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setuptools, "setup", lambda: None)


def test_an_unsupported_machine_is_told_before_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    monkeypatch.setattr(platform, "machine", lambda: "armv7l")
    with pytest.raises(SystemExit, match=r"64-bit Linux with glibc 2\.28.*found a 32-bit Python on armv7l"):
        runpy.run_path(str(SETUP))


def test_a_supported_machine_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    runpy.run_path(str(SETUP))
