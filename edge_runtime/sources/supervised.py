"""A live source that comes back: opened again for as long as it takes, however it was lost.

    reader thread (one a connection)           whoever calls ``read``
    open ─► read, read, read … ─► hand over ─► watch the frame, or its absence ─► Frame, or Fault

A read inside OpenCV may never return, and a thread cannot be killed: a reader that is late is left behind, holding
what it holds, and a new one opens the source again. Whoever is left behind and does wake up closes its source and ends.

Frames of all connections are numbered and timed on one clock, on which each connection's own is laid. Their ``epoch``
rises with each connection, and when the picture's size changes: a network forgets what it knew of another epoch.
``read`` also returns a `Fault` for each thing survived: ``source-lost`` and ``source-returned`` (with the outage's
length), ``frozen``, ``black``, ``black-over``, ``size-change``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from edge_runtime.backoff import Backoff
from edge_runtime.errors import InputError, SourceLostError
from edge_runtime.events import Fault
from edge_runtime.redaction import redact
from edge_runtime.sources.base import Closing, Frame, Source, SourceInfo, SourceRefusedError, UnreadableFrameError
from edge_runtime.sources.supervision import Patience, Watch, glance, watch

log = logging.getLogger(__name__)

# Each holds a thread and a device. With so many something is wrong that a new process mends and we do not.
MOST_LEFT_BEHIND = 8
# For the reader to let go of its device on closing; one that takes longer is stuck.
_CLOSE_S = 0.2


class SupervisedSource(Closing):
    """The source that ``connect`` opens, opened again whenever it is lost.

    The first connection is made here: what cannot work (no such camera, a bad URL) is an error at once, and so is a
    source that does not answer, unless ``patience.give_up_after_s`` says how long to try.

    Raises:
        InputError: the source can never be opened.
        SourceLostError: it does not answer.
    """

    def __init__(
        self,
        connect: Callable[[], Source],
        patience: Patience | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._connect = connect
        self._patience = patience or Patience()
        self._clock = clock
        self._backoff = Backoff(self._patience.first_wait_s, self._patience.longest_wait_s)
        self._closed = threading.Event()
        self._left_behind: list[Reader] = []
        self._faults: deque[Fault] = deque()
        self._index = 0
        self._epoch = 0
        self._first_ns: int | None = None
        self._lost_ns: int | None = None  # when the outage began that is going on
        self._t = 0.0
        self._begun_t: float | None = None  # on our clock, where this connection's counts from 0
        self._watch = Watch()
        self._reader: Reader | None = None
        self._info = self._first_connection()

    @property
    def info(self) -> SourceInfo:
        """Of the first connection."""
        return self._info

    @property
    def stuck(self) -> bool:
        readers = [*self._left_behind, self._reader] if self._reader else self._left_behind
        return any(reader.alive for reader in readers)

    def read(self) -> Frame | Fault | None:
        """Next frame or fault, waiting through an outage; None once closed.

        Raises:
            SourceLostError: gone for longer than ``give_up_after_s``, or too many reads never returned.
            UnreadableFrameError: as any source.
        """
        while not self._closed.is_set():
            if self._faults:
                return self._faults.popleft()
            if self._lost_ns is not None:
                self._reconnect(self._lost_ns)
                continue
            assert self._reader is not None
            try:
                frame = self._reader.take(self._patience.silent_s)
            except SourceLostError as error:
                self._lose("lost", str(error))
                continue
            except TimeoutError:
                self._leave_behind(self._reader)
                self._lose("silent", f"{self._info.name}: no frame for {self._patience.silent_s:g} s")
                continue
            return frame and self._admit(frame)
        return None

    def interrupt(self) -> None:
        self._closed.set()
        if self._reader is not None:
            self._reader.abandon()

    def close(self) -> None:
        self.interrupt()
        if self._reader is not None:
            self._reader.join(_CLOSE_S)

    def _admit(self, frame: Frame) -> Frame:
        """The frame on our clock and in our count; what is remarkable about it goes to the faults."""
        if self._first_ns is None:
            self._first_ns = frame.captured_ns
        if self._begun_t is None:  # of a connection: it counts from its own first frame
            self._begun_t = (frame.captured_ns - self._first_ns) / 1e9 - frame.t
        self._t = max(self._t, self._begun_t + frame.t)
        notices, self._watch = watch(
            self._patience, self._watch, glance(frame.data.astype(np.uint8, copy=False)), frame.captured_ns / 1e9
        )
        index, self._index = self._index, self._index + 1
        for notice in notices:
            log.warning("%s: %s", self._info.name, notice)
            self._faults.append(Fault(notice.kind, self._t, notice.detail))
            self._epoch += notice.kind == "size-change"
        frame = replace(frame, index=index, t=self._t, epoch=self._epoch)
        if any(notice.kind == "frozen" for notice in notices):
            assert self._reader is not None
            self._reader.abandon()
            self._lose("frozen", f"{self._info.name}: the same frame for {self._patience.frozen_s:g} s")
        return frame

    # ---- connections

    def _first_connection(self) -> SourceInfo:
        """Raises what the source raises, at once or when the time to try is over."""
        begun_ns = self._clock()
        patience_s = self._patience.give_up_after_s or 0.0
        said = False
        while True:
            try:
                return self._connect_once()
            except SourceLostError as error:
                if (self._clock() - begun_ns) / 1e9 >= patience_s:
                    raise
                if not said:
                    log.warning("%s; trying again for %g s", redact(str(error)), patience_s)
                    said = True
            self._closed.wait(self._backoff.next_s())

    def _lose(self, reason: str, message: str) -> None:
        """Say so, in the log and as a fault; `read` hands that out first, since the outage may last for days."""
        self._lost_ns = self._clock()
        log.warning("%s; reconnecting", redact(message))
        self._faults.append(Fault("source-lost", self._t, {"reason": reason, "message": redact(message)}))

    def _reconnect(self, lost_ns: int) -> None:
        """Attempts, ever further apart, until the source is back; one line then."""
        limit_s = self._patience.give_up_after_s
        attempt = 0
        self._backoff.reset()
        while not self._closed.is_set():
            self._closed.wait(self._backoff.next_s())
            attempt += 1
            try:
                self._connect_once()
            except SourceRefusedError as error:
                raise self._lost(redact(str(error))) from None
            except (InputError, SourceLostError) as error:  # a camera that is unplugged is an InputError, and no reason
                outage_s = (self._clock() - lost_ns) / 1e9
                if limit_s is not None and outage_s >= limit_s:
                    raise self._lost(f"gone for {outage_s:.0f} s, given up; {redact(str(error))}") from None
                continue
            outage_s = (self._clock() - lost_ns) / 1e9
            # whether the new connection is frozen is for it to show; its size is compared with the old one's
            self._watch = replace(self._watch, last=self._watch.last and replace(self._watch.last, digest=-1))
            self._epoch += 1
            self._begun_t = None
            log.warning("%s: back after %.1f s, attempt %d", self._info.name, outage_s, attempt)
            detail = {"outage_s": round(outage_s, 3), "attempts": attempt}
            self._faults.append(Fault("source-returned", self._t, detail))
            self._lost_ns = None
            return

    def _connect_once(self) -> SourceInfo:
        """A connection that has delivered a frame becomes ours.

        Raises:
            InputError, SourceLostError: why there is none.
        """
        self._reader = reader = Reader(self._connect)
        if self._closed.is_set():  # interrupted between two readers
            reader.abandon()
        try:
            return reader.first(self._patience.opening_s)
        except TimeoutError:
            self._leave_behind(reader)
            raise self._lost(f"opening the source took more than {self._patience.opening_s:g} s") from None

    def _leave_behind(self, reader: Reader) -> None:
        reader.abandon()
        self._left_behind = [item for item in self._left_behind if item.alive]
        self._left_behind.append(reader)
        if len(self._left_behind) > MOST_LEFT_BEHIND:
            raise self._lost(
                f"{len(self._left_behind)} reads of this source never returned: its driver is stuck; start anew"
            )

    def _lost(self, message: str) -> SourceLostError:
        return SourceLostError(message, stuck=lambda: self.stuck)


class Reader:
    """One connection and its thread, with room for one delivery between them."""

    def __init__(self, connect: Callable[[], Source]) -> None:
        self._connect = connect
        self._changed = threading.Condition()
        self._waiting: list[Frame | Exception | None] = []
        self._abandoned = False
        self._info: SourceInfo | None = None
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def first(self, timeout_s: float) -> SourceInfo:
        """What was opened, once its first frame is there; the frame stays to be taken.

        Raises:
            TimeoutError: not within the time.
            InputError, SourceLostError: it cannot be opened, or ends before its first frame.
        """
        with self._changed:
            self._wait(timeout_s)
            if self._abandoned:
                raise SourceLostError("interrupted")
            delivery = self._waiting[0]
            if delivery is None:
                raise SourceLostError("the source ended before its first frame")
            if isinstance(delivery, Exception) and not isinstance(delivery, UnreadableFrameError):
                raise delivery
            assert self._info is not None
            return self._info

    def take(self, timeout_s: float) -> Frame | None:
        """The next frame; None once abandoned.

        Raises:
            TimeoutError: none came within the time.
            SourceLostError, UnreadableFrameError: what the source raised.
        """
        with self._changed:
            self._wait(timeout_s)
            if self._abandoned:
                return None
            delivery = self._waiting.pop()
            self._changed.notify_all()
        if isinstance(delivery, Exception):
            raise delivery
        if delivery is None:
            raise SourceLostError("the stream ended")
        return delivery

    def abandon(self) -> None:
        """Nobody takes from this reader any more; it closes its source when it next wakes up."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _wait(self, timeout_s: float) -> None:
        if not self._changed.wait_for(lambda: self._waiting or self._abandoned, timeout_s):
            raise TimeoutError

    def _run(self) -> None:
        try:
            with self._connect() as source:
                self._info = source.info
                while self._deliver(_next(source)):
                    pass
        except Exception as error:
            self._deliver(error)

    def _deliver(self, item: Frame | Exception | None) -> bool:
        """Whether to go on."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._abandoned)
            if self._abandoned:
                return False
            self._waiting.append(item)
            self._changed.notify_all()
        return isinstance(item, Frame | UnreadableFrameError)


def _next(source: Source) -> Frame | Exception | None:
    try:
        item = source.read()
    except UnreadableFrameError as error:
        return error
    assert not isinstance(item, Fault)  # what is supervised is a plain source
    return item
