"""Shows that an unsupported device is told what is supported, and not that a distribution is missing."""

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


def test_32_bit_is_refused_with_what_is_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    monkeypatch.setattr(platform, "machine", lambda: "armv7l")
    with pytest.raises(SystemExit, match=r"64-bit system with glibc >= 2.28.*found a 32-bit Python on armv7l"):
        runpy.run_path(str(SETUP))


def test_old_glibc_is_refused_with_what_is_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.27"))
    with pytest.raises(SystemExit, match=r"found glibc 2\.27"):
        runpy.run_path(str(SETUP))


@pytest.mark.parametrize("libc", [("glibc", "2.28"), ("glibc", "2.36"), ("", "")])
def test_supported_systems_build(monkeypatch: pytest.MonkeyPatch, libc: tuple[str, str]) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    runpy.run_path(str(SETUP))
