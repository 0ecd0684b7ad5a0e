"""JPEGs one after the other on standard input, as ``ffmpeg -f mjpeg -`` or ``rpicam-vid --codec mjpeg`` writes them."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable

from edge_runtime.errors import InputError
from edge_runtime.sources.base import Closing, Frame, SourceInfo, UnreadableFrameError
from edge_runtime.sources.opencv import decode_image

_START, _END = b"\xff\xd8", b"\xff\xd9"
_CHUNK = 1 << 16
# A JPEG of an 8K camera; what is longer has no end marker and is no JPEG.
_LONGEST = 64 << 20


class MjpegSource(Closing):
    """Live pictures, each timed on arrival; waits for the first one.

    Raises:
        InputError: the stream ends before a JPEG came.
    """

    def __init__(
        self, stream: io.BufferedIOBase | None = None, *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._stream: io.BufferedIOBase = sys.stdin.buffer if stream is None else stream  # type: ignore[assignment]
        self._clock = clock
        self._buffer = b""
        self._index = 0
        self._first_ns: int | None = None
        try:
            self._pending = self._next_jpeg()
        except UnreadableFrameError:
            self._pending = None
        if self._pending is None:
            raise InputError(
                "video standard input: no JPEG on it; expected Motion JPEG, for instance ffmpeg -f mjpeg -"
            )
        self._info = SourceInfo("standard input", "image", True, None)

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self) -> Frame | None:
        jpeg, self._pending = self._pending or self._next_jpeg(), None
        if jpeg is None:
            return None
        captured_ns = self._clock()
        if self._first_ns is None:
            self._first_ns = captured_ns
        index, self._index = self._index, self._index + 1
        image = decode_image(jpeg, f"standard input, frame {index}")
        return Frame(image, index, (captured_ns - self._first_ns) / 1e9, captured_ns)

    def _next_jpeg(self) -> bytes | None:
        """The next bytes from a start marker to an end marker; what lies between two pictures is passed over."""
        searched = 0
        while True:
            start = self._buffer.find(_START)
            if start >= 0:
                end = self._buffer.find(_END, max(start + 2, searched))
                if end >= 0:
                    jpeg, self._buffer = self._buffer[start : end + 2], self._buffer[end + 2 :]
                    return jpeg
                self._buffer = self._buffer[start:]
            else:
                self._buffer = self._buffer[-1:]
            searched = max(0, len(self._buffer) - 1)
            if len(self._buffer) > _LONGEST:
                self._buffer = b""
                raise UnreadableFrameError(f"standard input: {_LONGEST >> 20} MiB without the end of a JPEG")
            chunk = self._stream.read1(_CHUNK)
            if not chunk:
                return None
            self._buffer += chunk
