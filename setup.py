"""Says what is supported before pip looks for wheels that do not exist; everything else is in pyproject.toml.

Without this, a 32-bit or old system ends in "No matching distribution found for onnxruntime".
"""

import platform
import sys

from setuptools import setup

OLDEST_GLIBC = (2, 28)


def unsupported() -> str | None:
    """Why this machine cannot run onnxruntime's wheels, None where it can."""
    if sys.maxsize < 2**32:
        return f"a 32-bit Python on {platform.machine()}"
    libc, version = platform.libc_ver()
    if libc == "glibc" and tuple(int(part) for part in version.split(".")[:2]) < OLDEST_GLIBC:
        return f"glibc {version}"
    return None


if found := unsupported():
    sys.exit(
        f"edge-action: expected a 64-bit system with glibc >= 2.28 (Raspberry Pi OS 64-bit, JetPack 5 or later, "
        f"Debian 10, Ubuntu 20.04), found {found}. Install a 64-bit image of one of these."
    )
setup()
