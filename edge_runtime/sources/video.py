"""A video file. The clock is the container's: a frame shows when its timestamp says, whatever the header's rate."""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2

from edge_runtime.errors import InputError
from edge_runtime.sources.base import Closing, Frame, SourceInfo, UnreadableFrameError
from edge_runtime.sources.opencv import OpenCapture

log = logging.getLogger(__name__)

# Rate assumed for the timestamps of a container that has neither timestamps nor a rate.
_FALLBACK_FPS = 30.0


class VideoSource(Closing):
    """Every frame of a file, in order, turned upright as its rotation tag says.

    The first frame is decoded on opening, so that a file without one is refused at once.

    Raises:
        InputError: no such file, or no frame in it can be decoded.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        open_capture: OpenCapture = cv2.VideoCapture,
    ) -> None:
        if not path.is_file():
            what = "it is a folder; give pictures with --images" if path.is_dir() else "no such file"
            raise InputError(f"video {path}: {what}")
        self._clock = clock
        self._capture = open_capture(str(path))
        if not self._capture.isOpened():
            raise InputError(
                f"video {path}: not a video that OpenCV can decode; convert it, for instance to H.264 in MP4"
            )
        self._name = str(path)
        self._fps = _plausible(self._capture.get(cv2.CAP_PROP_FPS), 1000)
        self._promised = _plausible(self._capture.get(cv2.CAP_PROP_FRAME_COUNT), 1e9)
        self._index = 0
        self._ended = False
        self._t = -math.inf
        self._pending: Frame | None = self._first()
        height, width = self._pending.data.shape[:2]
        frames = int(self._promised) if self._promised else None
        self._info = SourceInfo(self._name, "image", False, self._fps, width, height, frames)

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self) -> Frame | None:
        frame, self._pending = self._pending, None
        return replace(frame, captured_ns=self._clock()) if frame else self._decode()

    def close(self) -> None:
        self._capture.release()

    def _first(self) -> Frame:
        try:
            frame = self._decode()
        except UnreadableFrameError:
            frame = None
        if frame is None:
            self.close()
            raise InputError(f"video {self._name}: it opens, but no frame of it can be decoded")
        return frame

    def _decode(self) -> Frame | None:
        captured_ns = self._clock()  # before it is decoded, which is what capturing costs with a file
        if self._ended or not self._capture.grab():
            self._end()
            return None
        whole, image = self._capture.retrieve()
        self._t = self._timestamp()
        index, self._index = self._index, self._index + 1
        if not whole:
            raise UnreadableFrameError(f"{self._name}: frame {index} could not be decoded")
        return Frame(image, index, self._t, captured_ns)

    def _timestamp(self) -> float:
        """The container's, seconds; where it stands still or runs back (B-frames at an AVI's end), one period on."""
        t = float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000
        if math.isfinite(t) and t > self._t and (self._index or t >= 0):
            return t
        return self._t + 1 / (self._fps or _FALLBACK_FPS) if self._index else 0.0

    def _end(self) -> None:
        """Once ended it stays so: on a damaged file a grab after a failed one may succeed again, out of order."""
        if not self._ended and self._promised and 0 < self._index < self._promised:
            _say_shorter(self._name, int(self._promised), self._index)
        self._ended = True


@functools.cache  # said once: with --loop a file ends many times
def _say_shorter(name: str, promised: int, decoded: int) -> None:
    log.warning("%s: its header promises %d frames, %d decode", name, promised, decoded)


def _plausible(value: float, most: float) -> float | None:
    """What a header says, None for its ways of not knowing: 0, negative, NaN, 90,000 FPS, 2^63 frames."""
    return value if math.isfinite(value) and 0 < value <= most else None
