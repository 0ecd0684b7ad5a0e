"""The stopwatch of a run's stages, and the tape that it writes; the monitor reads it always, a trace on request."""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.pipeline.clock import Clock, system_clock

Integers = npt.NDArray[np.int64]

_MOMENTS = 1 << 14  # on a tape: some 2,800 frames of a video
_BATCH = _MOMENTS // 2  # moments after which the writer itself has them read
_BEGIN = ""  # in place of a stage's name


@dataclass(frozen=True, slots=True)
class Passes:
    """When a stage ran, pass by pass: start and end, monotonic ns, and the index of the frame it ran for; each (n,)."""

    starts: Integers
    ends: Integers
    frames: Integers


Watcher = Callable[[Mapping[str, Passes]], object]
"""Told of the passes since the last time, by stage. On any thread, one call at a time."""


class Tape:
    """Moments in the order in which they passed: each ends a stage, which began at the moment before.

    ::

        stage   (begin)   capture  preprocess  imfe.encoder …  (begin)   capture_to_result  (begin)   capture …
        moment  captured  taken    resized     encoded         captured  known              captured  taken
        frame   17                                             17                           18

    One thread writes, by `begin`, `end` and `lap`; another may `read` meanwhile. A ring of a fixed size; ``full`` is
    called before what has not been read would be overwritten, and must have it read.

    Writing happens while the network's weights fill the caches, so it costs by the lines of memory that it touches, its
    code included. Hence closures over lists: 6 us a frame of the demo model, where methods over arrays took 10, and a
    ring for each stage 14 (docs/budgets.md).
    """

    begin: Callable[[int, int], None]
    """``(frame, ns)``: a line of stages that run for this frame; the first began then."""
    end: Callable[[str, int], None]
    """``(stage, ns)``: this stage ended then, and the next began."""
    lap: Callable[[str], None]
    """``(stage)``: this stage ends now, and the next begins."""

    def __init__(self, clock: Clock, full: Callable[[], None]) -> None:
        stages, moments, frames = [_BEGIN] * _MOMENTS, [0] * _MOMENTS, [0] * _MOMENTS
        noted, last = 0, _MOMENTS - 1

        def begin(frame: int, ns: int) -> None:
            nonlocal noted
            if noted - self._read > _BATCH:  # half of it is left: one line would have to be longer than that
                full()
            slot = noted & last
            stages[slot] = _BEGIN
            moments[slot] = ns
            frames[slot] = frame
            noted += 1

        def end(stage: str, ns: int) -> None:
            nonlocal noted
            slot = noted & last
            stages[slot] = stage
            moments[slot] = ns
            noted += 1

        def lap(stage: str) -> None:
            nonlocal noted
            slot = noted & last
            stages[slot] = stage
            moments[slot] = clock()
            noted += 1

        def count() -> int:
            return noted

        self.begin, self.end, self.lap, self._noted = begin, end, lap, count
        self._lists = stages, moments, frames
        self._read = 1
        self._under_way = 0  # the frame of the line that had begun when last read
        self._codes: defaultdict[str, int] = defaultdict(itertools.count().__next__)
        self._codes[_BEGIN]  # is 0
        begin(0, clock())

    def read(self) -> dict[str, Passes]:
        """The passes since the last time."""
        noted = self._noted()
        first = max(self._read, noted - _MOMENTS + 1)  # of a line that outgrows the tape the end is left
        count = noted - first
        # with the moment before the first, at which that one began
        stages, moments, frames = (_ring(ring, first - 1, first + count) for ring in self._lists)
        codes = np.fromiter(map(self._codes.__getitem__, stages), np.int64, count + 1)
        codes[0] = 0
        line = np.where(codes == 0, np.arange(count + 1), 0)
        frame = np.array(frames, np.int64)
        frame[0] = self._under_way
        frame = frame[np.maximum.accumulate(line)]
        self._under_way = int(frame[-1])
        moment = np.array(moments, np.int64)
        self._read = noted
        found = {}
        for stage, code in self._codes.items():
            ends = np.flatnonzero(codes == code)
            if code and len(ends):
                found[stage] = Passes(moment[ends - 1], moment[ends], frame[ends])
        return found


def _ring(ring: list[Any], first: int, end: int) -> list[Any]:
    """Items number ``first`` to ``end`` - 1, as many as it holds at most."""
    start, stop = first % len(ring), end % len(ring)
    return ring[start:stop] if start < stop else ring[start:] + ring[:stop]


class StageTimes:
    """A frame's stages follow each other without a gap: one reading of the clock ends a stage and begins the next.

    Made before the networks are opened, which are given `lap` as their observer; watchers join when there are budgets
    to measure against. `tell` and `deliver` are for every thread, the rest for the networks' only.
    """

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._line = Tape(clock, self.deliver)
        self.lap = self._line.lap
        self._frame = 0
        self._aside = Tape(clock, self.deliver)
        self._aside_lock = threading.Lock()
        self._reading = threading.Lock()
        self._watchers: tuple[Watcher, ...] = ()

    def watch(self, watcher: Watcher) -> None:
        """Tell it of every pass from now on."""
        self.deliver()
        self._watchers += (watcher,)

    def forget_watchers(self) -> None:
        """Those of a run that has ended."""
        self.deliver()
        self._watchers = ()

    def take(self, frame: int, captured_ns: int) -> None:
        """The network takes this frame: its ``capture`` ends now."""
        self._frame = frame
        self._line.begin(frame, captured_ns)
        self.lap("capture")

    def join(self, frame: int, passes: Sequence[tuple[str, int, int]]) -> None:
        """The network takes a frame for which these stages have run beside it: name, start and end."""
        for stage, start_ns, end_ns in passes:
            self.tell(stage, start_ns, end_ns, frame)
        self._frame = frame
        self.resume()

    def resume(self) -> None:
        """What passed since the last stage belongs to none."""
        self._line.begin(self._frame, self._clock())

    def whole(self, stage: str, start_ns: int, end_ns: int) -> None:
        """The sum of the frame's stages, after the last of them."""
        self._line.begin(self._frame, start_ns)
        self._line.end(stage, end_ns)

    def tell(self, stage: str, start_ns: int, end_ns: int, frame: int) -> None:
        """A stage that ran beside the networks."""
        with self._aside_lock:
            self._aside.begin(frame, start_ns)
            self._aside.end(stage, end_ns)

    def deliver(self) -> None:
        """Tell the watchers of every pass until now."""
        with self._reading:
            for tape in (self._line, self._aside):
                passes = tape.read()
                for watcher in self._watchers if passes else ():
                    watcher(passes)
