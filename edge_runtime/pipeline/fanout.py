"""Each sink behind its own bounded queue in its own thread: a full disk or a dead broker can never stall inference.

A queue holds events and the pictures between them in one order, so that a picture comes before the events that speak
of it. What happens when it is full:

- ``lossless`` (files): the pipeline waits for the sink, and nothing is left out.
- otherwise (live): the oldest picture, or the oldest event, makes room and is counted as lost to this sink.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge_runtime.events import Event
from edge_runtime.pipeline.clock import POLL_S, Clock, StopFlag
from edge_runtime.sinks.base import Sink
from edge_runtime.sources.base import Frame

log = logging.getLogger(__name__)

MAX_EVENTS = 1024  # some minutes of results, about 1 MB
MAX_PICTURES = 4  # 25 MB each at 4K

Delivered = Callable[[Event, int, int], None]
"""Told of every event a sink has taken, on that sink's thread: the event, when it was queued and when done, ns."""


@dataclass(slots=True)
class Tally:
    """What became of what a sink was given."""

    emitted: int = 0
    shown: int = 0
    lost: int = 0  # left out because the queue was full, or still queued at the end
    failed: int = 0  # the sink raised


@dataclass(frozen=True, slots=True)
class _Queued:
    event: Event
    queued_ns: int


class Worker:
    """One sink, its queue and its thread."""

    def __init__(self, sink: Sink, *, lossless: bool, clock: Clock, stop: StopFlag, delivered: Delivered) -> None:
        self.sink = sink
        self.tally = Tally()
        self._complained: set[type] = set()  # about these kinds of items, since one of them was last taken
        self._show = getattr(sink, "show", None)
        self._lossless = lossless
        self._clock = clock
        self._stop = stop
        self._delivered = delivered
        self._queue: deque[_Queued | Frame] = deque()
        self._pictures = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True)
        self._thread.start()

    @property
    def shows_pictures(self) -> bool:
        return self._show is not None

    @property
    def wants_picture(self) -> bool:
        """Whether the next one is worth handing over; a `FrameSink` knows."""
        return bool(getattr(self.sink, "wants_picture", False))

    def emit(self, event: Event) -> None:
        with self._changed:
            self._make_room(lambda: len(self._queue) - self._pictures >= MAX_EVENTS, _Queued)
            self._queue.append(_Queued(event, self._clock()))
            self._changed.notify_all()

    def show(self, frame: Frame) -> None:
        with self._changed:
            self._make_room(lambda: self._pictures >= MAX_PICTURES, Frame)
            self._queue.append(frame)
            self._pictures += 1
            self._changed.notify_all()

    def _make_room(self, full: Callable[[], bool], kind: type[Any]) -> None:
        """Wait, or leave out the oldest of its kind. Holds the lock."""
        while full():
            if self._lossless and self._stop.reason is None:
                self._changed.wait(POLL_S)
                continue
            del self._queue[next(i for i, item in enumerate(self._queue) if isinstance(item, kind))]
            self._pictures -= kind is Frame
            self.tally.lost += 1

    def begin_close(self) -> None:
        """Write what is queued, then close the sink; `join` waits for it."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def ended(self, timeout_s: float) -> bool:
        """Whether the sink is closed, at the latest after this time."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Whether the sink was closed in time; what it has not written by then is lost and counted."""
        if self.ended(timeout_s):
            return True
        with self._changed:
            self.tally.lost += len(self._queue)
            self._queue.clear()
        return False

    def _run(self) -> None:
        while (item := self._next()) is not None:
            self._attempt(item)
        try:
            self.sink.close()
        except Exception as error:
            self._failed(error, type(self.sink))

    def _next(self) -> _Queued | Frame | None:
        with self._changed:
            while not self._queue:
                if self._closing:
                    return None
                self._changed.wait()
            item = self._queue.popleft()
            self._pictures -= isinstance(item, Frame)
            self._changed.notify_all()
            return item

    def _attempt(self, item: _Queued | Frame) -> None:
        try:
            if isinstance(item, Frame):
                assert self._show is not None
                self._show(item, item.data)
                self.tally.shown += 1
                self._complained.discard(Frame)
            else:
                self.sink.emit(item.event)
                self.tally.emitted += 1
                self._delivered(item.event, item.queued_ns, self._clock())
                self._complained.discard(_Queued)
        except BrokenPipeError:
            self._stop.request("output-closed")  # `edge-run --out - | head`: nobody reads on
            self.tally.failed += 1
        except Exception as error:
            self._failed(error, type(item))

    def _failed(self, error: Exception, kind: type) -> None:
        """Count it, and say it once until the sink takes such an item again; a bug is shown whole, and ends no run."""
        self.tally.failed += 1
        if kind not in self._complained:
            message = getattr(error, "strerror", None) or str(error)
            bug = None if isinstance(error, OSError) else error
            log.warning("sink %s: %s; counted, the run goes on", self.sink.name, message, exc_info=bug)
        self._complained.add(kind)


class Fanout:
    """All sinks of a run. Every event goes to each, every picture to those that show pictures."""

    def __init__(
        self, sinks: Sequence[Sink], *, lossless: bool, clock: Clock, stop: StopFlag, delivered: Delivered
    ) -> None:
        self._stop = stop
        self._workers = [Worker(sink, lossless=lossless, clock=clock, stop=stop, delivered=delivered) for sink in sinks]
        self._showing = [worker for worker in self._workers if worker.shows_pictures]

    def emit(self, event: Event) -> None:
        for worker in self._workers:
            worker.emit(event)

    def show(self, frame: Frame) -> None:
        for worker in self._showing:
            if worker.wants_picture:
                worker.show(frame)

    def tallies(self) -> dict[str, dict[str, int]]:
        return {worker.sink.name: asdict(worker.tally) for worker in self._workers}

    def close(self, timeout_s: float, stopped_s: float) -> list[str]:
        """Write what is queued and close every sink; the names of those that did not end in ``timeout_s``.

        Once a stop is asked for, before or meanwhile, they have ``stopped_s``.
        """
        for worker in self._workers:
            worker.begin_close()
        deadline = time.monotonic() + timeout_s
        for worker in self._workers:
            while self._stop.reason is None and time.monotonic() < deadline and not worker.ended(POLL_S):
                pass
        if self._stop.reason is not None:
            deadline = min(deadline, time.monotonic() + stopped_s)
        return [w.sink.name for w in self._workers if not w.join(max(0.0, deadline - time.monotonic()))]
