"""Where every frame went: captured = processed + Σ dropped[reason], at every moment that the lock is free."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from edge_runtime.errors import EdgeError
from edge_runtime.events import DropReason


class AccountingError(EdgeError):
    """A frame was lost count of: a bug of ours, never of the user's."""


class Account:
    """Counts of one run; any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captured = 0
        self._processed = 0
        self._dropped: Counter[str] = Counter()
        self.newest_ns: int | None = None
        """When the newest frame reached us, monotonic; the capture thread sets it."""
        self.sinks: Callable[[], dict[str, dict[str, int]]] = dict
        """What each sink took, lost and failed at; the pipeline that has the sinks sets it."""

    def captured(self) -> None:
        """A frame entered the pipeline; `processed` or `dropped` must follow."""
        with self._lock:
            self._captured += 1

    def processed(self) -> None:
        with self._lock:
            self._processed += 1

    def dropped(self, reason: DropReason) -> None:
        with self._lock:
            self._dropped[reason] += 1

    def captured_and_dropped(self, reason: DropReason) -> None:
        """A frame that never entered: unreadable, or not wanted by the frame rate."""
        with self._lock:
            self._captured += 1
            self._dropped[reason] += 1

    def count(self, reason: DropReason) -> int:
        with self._lock:
            return self._dropped[reason]

    def snapshot(self) -> dict[str, Any]:
        """``{"captured": n, "processed": n, "dropped": {reason: n}}``; frames under way are in none but the first."""
        with self._lock:
            return {"captured": self._captured, "processed": self._processed, "dropped": dict(self._dropped)}

    def close(self) -> dict[str, Any]:
        """The final counts.

        Raises:
            AccountingError: they do not add up.
        """
        counts = self.snapshot()
        if counts["captured"] != counts["processed"] + sum(counts["dropped"].values()):
            raise AccountingError(f"captured != processed + dropped: {counts}; please report this")
        return counts
