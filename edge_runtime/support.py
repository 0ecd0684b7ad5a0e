"""Where the runtime can run, said in one line to those who try elsewhere.

onnxruntime's wheels decide it. pip's own word for a wrong machine is "No matching distribution found", from which
nobody learns that a 32-bit Raspberry Pi OS is the reason. This file imports nothing of ours: setup.py runs it too.
"""

from __future__ import annotations

import platform
import sys

SUPPORTED = "edge-action needs a 64-bit Linux with glibc 2.28 or newer (64-bit Raspberry Pi OS, Debian 12, Ubuntu 24)"
GLIBC = (2, 28)


def unsupported(
    bits: int = 64 if sys.maxsize > 2**32 else 32,
    system: str = sys.platform,
    libc: tuple[str, str] | None = None,
) -> str | None:
    """One line that says why this machine cannot run it and what can; None where it can.

    Other systems than Linux are not refused: onnxruntime has wheels for some, only nobody tests them here.
    """
    name, version = platform.libc_ver() if libc is None else libc
    if bits != 64:
        return f"{SUPPORTED}; found a {bits}-bit Python on {platform.machine()}: install the 64-bit system image"
    if system != "linux":
        return None
    if name != "glibc":
        return f"{SUPPORTED}; found {name or 'another C library'} (Alpine has musl: use a Debian image)"
    numbers = version.split(".")
    if len(numbers) >= 2 and all(n.isdigit() for n in numbers[:2]) and (int(numbers[0]), int(numbers[1])) < GLIBC:
        return f"{SUPPORTED}; found glibc {version}: install a newer release of the system"
    return None


def missing_onnxruntime(error: ImportError) -> str:
    """One line for an onnxruntime that is not there or does not load."""
    reason = unsupported()
    if reason is not None:
        return reason
    if isinstance(error, ModuleNotFoundError):
        return "onnxruntime is not installed: pip install onnxruntime (on a Jetson: onnxruntime-gpu of your JetPack)"
    return f"onnxruntime does not load: {error}; install it anew with pip install --force-reinstall onnxruntime"
