"""OpenCV as the sources use it: quiet, and with pictures that are known to be whole."""

from __future__ import annotations

import os

# FFmpeg's own lines, printed past every logger; read by OpenCV when it first opens a video, hence before its import.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import contextlib
import functools
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import IO, Any

import cv2
import numpy as np
import numpy.typing as npt

from edge_runtime.sources.base import UnreadableFrameError

if hasattr(cv2.utils, "logging"):
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
else:  # Debian 12's OpenCV, 4.6, which is the one with GStreamer
    cv2.setLogLevel(0)  # type: ignore[attr-defined]

Image = npt.NDArray[np.uint8]
Capture = Any  # cv2.VideoCapture, or what a test puts in its place
OpenCapture = Callable[..., Capture]

_codec_stderr = threading.Lock()


def decode_image(data: bytes, name: str) -> Image:
    """A compressed picture as uint8 BGR ``(H, W, 3)``; grey is repeated, alpha left out, 16 bits become 8.

    libjpeg fills what it cannot decode with grey and calls it a success; only its line on stderr tells, so that line
    is what is looked at.

    Raises:
        UnreadableFrameError: not a picture, or a damaged one.
    """
    with _codec_messages() as messages:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        except cv2.error:  # a picture beyond OpenCV's limit of 2^30 pixels, for one
            image = None
    if image is None or messages:
        reason = messages[0] if messages else "not a picture that OpenCV can decode"
        raise UnreadableFrameError(f"{name}: {reason}")
    return image.astype(np.uint8, copy=False)


@contextlib.contextmanager
def _codec_messages() -> Iterator[list[str]]:
    """Collects what the C libraries of pictures print meanwhile; other lines are passed on to stderr."""
    messages: list[str] = []
    with _codec_stderr:
        caught = _scratch_file()
        saved = os.dup(2)
        try:
            os.dup2(caught.fileno(), 2)
            try:
                yield messages
            finally:
                os.dup2(saved, 2)
        finally:
            os.close(saved)
        if caught.tell() or os.fstat(caught.fileno()).st_size:
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines(keepends=True):
                if any(word in line for word in ("JPEG", "Huffman", "libpng", "TIFF")):
                    messages.append(line.strip())
                else:
                    sys.stderr.write(line)
            caught.seek(0)
            caught.truncate()


@functools.cache
def _scratch_file() -> IO[bytes]:
    return tempfile.TemporaryFile()
