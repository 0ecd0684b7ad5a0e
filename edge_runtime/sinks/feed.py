"""A bounded feed of messages that any number of readers follow, each at its own pace.

The past is a ring: a reader that stops is overtaken and resumes at the oldest message still there. Writing never
waits for a reader.
"""

from __future__ import annotations

import threading
from collections import deque

HISTORY = 2000  # messages: about five minutes of results at 5 a second


class Feed:
    """Numbered text messages, the last `HISTORY` of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages: deque[tuple[int, str]] = deque(maxlen=HISTORY)
        self._next = 1
        self._closed = False

    def put(self, message: str) -> None:
        with self._changed:
            self._messages.append((self._next, message))
            self._next += 1
            self._changed.notify_all()

    def after(self, number: int, timeout_s: float) -> list[tuple[int, str]]:
        """Messages later than ``number``, oldest first; empty when none came in time or the feed is closed.

        A number that was never given out (the reader knew an earlier process) stands for 0.
        """
        with self._changed:
            number = number if number < self._next else 0
            self._changed.wait_for(lambda: self._closed or self._next - 1 > number, timeout_s)
            if self._closed:
                return []
            new = min(self._next - 1 - number, len(self._messages))
            return [self._messages[index] for index in range(len(self._messages) - new, len(self._messages))]

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
