"""Two frames in hand: what a frame needs of no other is done on threads of its own, several frames side by side.

::

    take ─┬─► lane: look ─┐
          └─► lane: look ─┴─► ready, in the order in which they were taken ─► the caller's thread

A network's operators wait for their slowest thread, a hundred times a frame; two frames wait for each other once. On
two cores that is worth 1.1 to 1.4 times the frames a second (docs/benchmarks.md), and nothing where frames come one by
one.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Seen = TypeVar("Seen")

POLL_S = 0.05


class Lanes(Generic[Item, Seen]):
    """Items in the order in which they are taken, each with what its look will have found.

    Args:
        take: the next item; None where there is none for the moment. Called by one lane at a time.
        over: whether no further item will come.
        looks: one a lane, each called by its lane alone.
    """

    def __init__(
        self, take: Callable[[], Item | None], over: Callable[[], bool], looks: Sequence[Callable[[Item], Seen]]
    ) -> None:
        self._take = take
        self._over = over
        self._most = len(looks)  # in hand; a lane that is ahead of the caller by more waits
        self._ready: deque[tuple[Item, Future[Seen]]] = deque()
        self._changed = threading.Condition()
        self._taking = threading.Lock()
        self._abandoned = False
        self._running = len(looks)
        for look in looks:
            threading.Thread(target=self._run, args=(look,), name="lane", daemon=True).start()

    def take(self) -> tuple[Item, Future[Seen]] | None:
        """The next item, whose look may be under way; None where there is none within `POLL_S`."""
        with self._changed:
            if not self._ready and self._running:
                self._changed.wait(POLL_S)
            if not self._ready:
                return None
            self._changed.notify_all()
            return self._ready.popleft()

    @property
    def over(self) -> bool:
        """Every item was taken, and no further one will come."""
        with self._changed:
            return not self._running and not self._ready

    def abandon(self) -> list[Item]:
        """End the lanes; the items that nobody has taken from here. ``take`` must not wait for long any more."""
        self._abandoned = True
        with self._taking, self._changed:
            left = [item for item, _ in self._ready]
            self._ready.clear()
            self._changed.notify_all()
        return left

    def _run(self, look: Callable[[Item], Seen]) -> None:
        while (taken := self._next()) is not None:
            item, seen = taken
            try:
                seen.set_result(look(item))
            except Exception as error:  # the caller's, when it comes to this item
                seen.set_exception(error)
        with self._changed:
            self._running -= 1
            self._changed.notify_all()

    def _next(self) -> tuple[Item, Future[Seen]] | None:
        with self._taking:  # held while waiting: the order of taking is the order of the queue
            while not self._abandoned:
                with self._changed:
                    if len(self._ready) >= self._most:
                        self._changed.wait(POLL_S)
                        continue
                if self._over():
                    return None
                item = self._take()
                if item is not None:
                    seen: Future[Seen] = Future()
                    with self._changed:
                        self._ready.append((item, seen))
                        self._changed.notify_all()
                    return item, seen
        return None
