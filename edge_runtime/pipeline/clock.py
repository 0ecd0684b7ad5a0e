"""The one clock of a run, and the flag that ends it; both are injected, so that tests decide what time it is."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Monotonic nanoseconds. Latencies are differences of these; wall-clock time steps with NTP and is never used."""

system_clock: Clock = time.monotonic_ns


class StopFlag:
    """Asked to end, and why. The first reason stays. A run among several also ends with its ``parent``.

    A plain attribute and no lock, because a signal handler sets it: a handler runs between two byte codes of the main
    thread, and a lock that this thread holds at that moment would never be released. Whoever waits looks every 50 ms.
    """

    __slots__ = ("_parent", "_reason")

    def __init__(self, parent: StopFlag | None = None) -> None:
        self._parent = parent
        self._reason: str | None = None

    @property
    def reason(self) -> str | None:
        return self._reason or (self._parent.reason if self._parent else None)

    def request(self, reason: str) -> None:
        if self._reason is None:
            self._reason = reason


POLL_S = 0.05
