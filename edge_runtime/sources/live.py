"""What cameras and network streams share: frames come on their own clock, and each is stamped on arrival."""

from __future__ import annotations

from collections.abc import Callable

import cv2

from edge_runtime.errors import SourceLostError
from edge_runtime.sources.base import Closing, Frame, SourceInfo, UnreadableFrameError
from edge_runtime.sources.opencv import Capture

# A driver's stamp older than this, or in the future, is of another clock than ours.
_OLDEST_STAMP_NS = 1_000_000_000


class LiveSource(Closing):
    """Frames of an open ``capture``; ``t`` counts seconds from the first frame's arrival.

    With ``stamped`` the moment of arrival is the driver's own (V4L2 stamps on the monotonic clock, when the frame's
    transfer ends), so that time spent in the driver's buffer counts as latency.
    """

    def __init__(self, capture: Capture, info: SourceInfo, clock: Callable[[], int], *, stamped: bool = False) -> None:
        self._capture = capture
        self._info = info
        self._clock = clock
        self._stamped = stamped
        self._first_ns: int | None = None
        self._last_ns = 0
        self._index = 0

    @property
    def info(self) -> SourceInfo:
        return self._info

    def read(self) -> Frame | None:
        if not self._capture.grab():
            raise SourceLostError(f"{self._info.name}: it stopped delivering frames")
        captured_ns = max(self._arrival(), self._last_ns)
        whole, image = self._capture.retrieve()
        if self._first_ns is None:
            self._first_ns = captured_ns
        self._last_ns = captured_ns
        index, self._index = self._index, self._index + 1
        if not whole:
            raise UnreadableFrameError(f"{self._info.name}: frame {index} could not be decoded")
        return Frame(image, index, (captured_ns - self._first_ns) / 1e9, captured_ns)

    def close(self) -> None:
        self._capture.release()

    def _arrival(self) -> int:
        now = self._clock()
        if self._stamped:
            stamp = int(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            if 0 <= now - stamp < _OLDEST_STAMP_NS:
                return stamp
        return now
