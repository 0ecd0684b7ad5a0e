"""A recording in a camera's place: ``--loop`` lets it never end, ``--live`` lets it wait for nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

from edge_runtime.events import Fault
from edge_runtime.sources.base import Closing, Frame, Source, SourceInfo

# Between a recording's last frame and its first one again where it states no rate.
_SEAM_S = 1 / 30
HELD_UP_S = 1.0  # the four buffers of a camera's driver are far less


class LoopedSource(Closing):
    """A recording from its start again whenever it ends. Time and numbers go on; what was is not the new start's past.

    Args:
        open_recording: opens it, at once and at each start.

    Raises:
        InputError: as ``open_recording``; later too, should the file be gone by then.
    """

    def __init__(self, open_recording: Callable[[], Source]) -> None:
        self._open = open_recording
        self._source = open_recording()
        self.info: SourceInfo = replace(self._source.info, frames=None)
        self._round = 0
        self._offset = (0, 0.0)  # of this round's numbers and times
        self._next = (0, 0.0)  # the offset of the next round, as far as is known
        self._delivered = False  # in this round

    def read(self) -> Frame | Fault | None:
        frame = self._source.read()
        if frame is None and self._delivered:
            self._source.close()
            self._source = self._open()
            self._round += 1
            self._offset, self._delivered = self._next, False
            frame = self._source.read()
        if not isinstance(frame, Frame):
            return frame
        self._delivered = True
        index, t = frame.index + self._offset[0], frame.t + self._offset[1]
        self._next = (index + 1, t + (1 / self.info.fps if self.info.fps else _SEAM_S))
        return replace(frame, index=index, t=t, epoch=frame.epoch + self._round)

    def close(self) -> None:
        self._source.close()


class LiveSource(Closing):
    """A recording as a camera would send it: each frame when its time comes, and stamped with that moment.

    A frame that the reader comes too late for is late by the wait: nothing slows a camera down. But a camera has no
    frames of long ago either: a recording that was held up by more than `HELD_UP_S` (the process was stopped, decoding
    is slower than real time) goes on from where it is.

    Args:
        recording: what is played; closed with this.
        clock: monotonic nanoseconds.
    """

    def __init__(self, recording: Source, *, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._recording = recording
        self._clock = clock
        self._interrupted = threading.Event()
        self._start: tuple[int, float] | None = None  # clock and source time of the first frame
        self.info: SourceInfo = replace(recording.info, live=True)

    def read(self) -> Frame | Fault | None:
        frame = self._recording.read()
        if not isinstance(frame, Frame):
            return frame
        if self._start is None:
            self._start = self._clock(), frame.t
        due_ns = self._start[0] + round((frame.t - self._start[1]) * 1e9)
        wait_ns = due_ns - self._clock()
        if wait_ns < -HELD_UP_S * 1e9:
            self._start = self._clock(), frame.t
            return replace(frame, captured_ns=self._start[0])
        if wait_ns > 0 and self._interrupted.wait(wait_ns / 1e9):
            return None
        return replace(frame, captured_ns=due_ns)

    def interrupt(self) -> None:
        """A frame that is not due yet is not waited for: a recording may stand still for an hour."""
        self._interrupted.set()

    def close(self) -> None:
        self._recording.close()
