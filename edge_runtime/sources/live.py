"""What cameras and network streams share: frames come on their own clock, and each is stamped on arrival."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2

from edge_runtime.errors import SourceLostError
from edge_runtime.sources import source_time
from edge_runtime.sources.base import Closing, Frame, SourceInfo, UnreadableFrameError
from edge_runtime.sources.opencv import Capture

# A driver's stamp older than this, or in the future, is of another clock than ours.
_OLDEST_STAMP_NS = 1_000_000_000
_PTS: int | None = getattr(cv2, "CAP_PROP_PTS", None)  # OpenCV 4.11 and newer
_NO_PTS = -(2.0**63)  # FFmpeg's AV_NOPTS_VALUE


class LiveSource(Closing):
    """Frames of an open ``capture``; ``t`` counts seconds from the first frame's arrival.

    ``stamped`` says what the capture knows of time. ``arrival``: the driver stamps on the monotonic clock when a
    frame's transfer ends (V4L2), so that time spent in its buffer counts as latency. ``presentation``: the stream says
    when each frame shows (see `source_time`), whenever it arrives.
    """

    def __init__(
        self,
        capture: Capture,
        info: SourceInfo,
        clock: Callable[[], int],
        *,
        stamped: Literal["arrival", "presentation"] | None = None,
    ) -> None:
        self._capture = capture
        self._info = info
        self._clock = clock
        self._stamped = stamped
        self._first_ns: int | None = None
        self._last_ns = 0
        self._last_t = 0.0
        self._stream_clock: source_time.Clock | None = None
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
        t = self._last_t = max(self._last_t, self._shown_at((captured_ns - self._first_ns) / 1e9))
        index, self._index = self._index, self._index + 1
        if not whole:
            raise UnreadableFrameError(f"{self._info.name}: frame {index} could not be decoded")
        return Frame(image, index, t, captured_ns)

    def close(self) -> None:
        self._capture.release()

    def _arrival(self) -> int:
        now = self._clock()
        if self._stamped == "arrival":
            stamp = int(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            if 0 <= now - stamp < _OLDEST_STAMP_NS:
                return stamp
        return now

    def _shown_at(self, arrival_s: float) -> float:
        if self._stamped != "presentation":
            return arrival_s
        stamp_s = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 if self._has_timestamp() else None
        t, self._stream_clock = source_time.place(self._stream_clock, stamp_s, arrival_s)
        return t

    def _has_timestamp(self) -> bool:
        """Where a stream has none, OpenCV counts frames at the rate that it supposes; only this tells."""
        return _PTS is not None and self._capture.get(_PTS) > _NO_PTS
