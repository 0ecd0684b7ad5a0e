"""The bounded queue between capture and inference; how many frames may wait and who gives way is the policy's.

An old frame of a live camera is worth less than the one behind it, and a longer queue only adds its length to every
latency; a file's frames are all wanted, in order.

A file is read ahead, and what is read waits for the network: nobody is kept waiting by that, so it is no part of the
frame's age. A camera's frame that waits grows old, under any policy.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

from edge_runtime.pipeline import policy
from edge_runtime.pipeline.accounting import Account
from edge_runtime.pipeline.clock import POLL_S, Clock, system_clock
from edge_runtime.pipeline.policy import Governor
from edge_runtime.sources.base import Frame


class Handover:
    """Frames from one producer to one consumer; accounts for each that it takes.

    ``live``: they come from a source that goes on by itself, and grow old while they wait. Others are stamped anew when
    they are taken, as if they had been read just in time.
    """

    def __init__(self, account: Account, governor: Governor, *, live: bool, clock: Clock = system_clock) -> None:
        self._account = account
        self._governor = governor
        self._live = live
        self._clock = clock
        self._waiting: deque[tuple[Frame, int]] = deque()  # and when it was offered
        self._closed = False
        self._changed = threading.Condition()

    def put(self, frame: Frame) -> bool:
        """Offer a frame; False once the hand-over is closed (the frame is then not counted)."""
        offered_ns = self._clock()
        with self._changed:
            while not self._closed and self._admit() == "wait":
                self._changed.wait(POLL_S)
            if self._closed:
                return False
            self._account.captured()
            while self._admit() == "replace":
                self._waiting.popleft()
                self._account.dropped("overload")
            self._waiting.append((frame, offered_ns))
            self._changed.notify_all()
            return True

    def _admit(self) -> str:
        return policy.admit(self._governor.policy, self._governor.level, len(self._waiting))

    def take(self) -> Frame | None:
        """The next frame; None when there is none within `POLL_S`, or none will come."""
        with self._changed:
            if not self._waiting and not self._closed:
                self._changed.wait(POLL_S)
            if not self._waiting:
                return None
            self._changed.notify_all()
            frame, offered_ns = self._waiting.popleft()
        if self._live:
            return frame
        return replace(frame, captured_ns=frame.captured_ns + self._clock() - offered_ns)

    @property
    def over(self) -> bool:
        """Closed, and every frame taken."""
        with self._changed:
            return self._closed and not self._waiting

    def finish(self) -> None:
        """No more frames will come; those waiting may still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Close, and drop what is waiting as ``stopped``."""
        with self._changed:
            self._closed = True
            while self._waiting:
                self._waiting.popleft()
                self._account.dropped("stopped")
            self._changed.notify_all()
