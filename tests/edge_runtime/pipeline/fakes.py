"""A source, a recogniser, a sink and a clock that do as a test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.events import Event, Fault, Result, Segment, Start, Summary
from edge_runtime.pipeline.budgets import Budgets
from edge_runtime.pipeline.clock import StopFlag, system_clock
from edge_runtime.pipeline.head import Opinion
from edge_runtime.pipeline.lookahead import Seen
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.pipeline import Pipeline, RunLimits
from edge_runtime.pipeline.policy import PolicyName, choose
from edge_runtime.pipeline.succession import Lineup
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.sinks.base import Sink
from edge_runtime.sources.base import Closing, Frame, SourceInfo, UnreadableFrameError

FPS = 30.0
BLACK = np.zeros((8, 8, 3), np.uint8)


def frame(index: int, t: float | None = None) -> Frame:
    return Frame(BLACK, index, index / FPS if t is None else t, system_clock())


class FakeSource(Closing):
    """Delivers items: a frame, an exception to raise, or a function to call for either."""

    def __init__(self, items: Iterable[Any], *, live: bool = False, fps: float = FPS) -> None:
        self.info = SourceInfo("fake", "image", live, fps)
        self._items = iter(items)
        self.closed = 0

    def read(self) -> Frame | None:
        item = next(self._items, None)
        if callable(item):
            item = item()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.closed += 1


def frames(count: int) -> list[Callable[[], Frame]]:
    """``count`` frames, each stamped when it is read."""
    return [lambda i=i: frame(i) for i in range(count)]  # type: ignore[misc]


def slowly(count: int, interval_s: float) -> Iterator[Frame]:
    """Frames that come one after the other, as a camera's do."""
    for index in range(count):
        time.sleep(interval_s)
        yield frame(index)


UNREADABLE = UnreadableFrameError("a broken frame")


@dataclass
class FakeRecogniser:
    """One opinion every ``hop`` frames: class 0 for certain. ``on_step`` may block or raise."""

    hop: int = 1
    clip_length: int = 1
    fps: float = FPS
    labels: tuple[str, ...] = ("wave", "none")
    background: str | None = "none"
    on_step: Callable[[Frame], None] = lambda _: None
    owed: Sequence[Opinion] = ()  # given by flush
    seen: list[int] = field(default_factory=list)
    resets: int = 0
    skips: int = 0
    lookers: Sequence[Callable[[Frame], Seen]] = ()
    followed: list[int] = field(default_factory=list)

    def run_at(self, hop: int) -> None:
        self.hop = hop

    def skip(self) -> None:
        self.skips += 1

    def step(self, frame: Frame) -> list[Opinion]:
        self.on_step(frame)
        self.seen.append(frame.index)
        if len(self.seen) % self.hop:
            return []
        return [Opinion(frame.index, frame.t, np.array([0.9, 0.1], np.float32))]

    def follow(self, frame: Frame, seen: Seen) -> list[Opinion]:
        self.followed.append(seen.fmap)
        return self.step(frame)

    def flush(self) -> list[Opinion]:
        owed, self.owed = self.owed, ()
        return list(owed)

    def reset(self) -> None:
        self.resets += 1


class Keep:
    """A sink that keeps what it is given. ``on_emit`` may block or raise."""

    def __init__(self, name: str = "keep", on_emit: Callable[[Event], None] = lambda _: None) -> None:
        self.name = name
        self.events: list[Event] = []
        self.closed = threading.Event()
        self._on_emit = on_emit

    def emit(self, event: Event) -> None:
        self._on_emit(event)
        self.events.append(event)

    def close(self) -> None:
        self.closed.set()

    @property
    def results(self) -> list[Result]:
        return [e for e in self.events if isinstance(e, Result)]

    @property
    def segments(self) -> list[Segment]:
        return [e for e in self.events if isinstance(e, Segment)]

    @property
    def faults(self) -> list[Fault]:
        return [e for e in self.events if isinstance(e, Fault)]

    @property
    def summary(self) -> Summary:
        assert isinstance(self.events[0], Start)
        assert isinstance(self.events[-1], Summary)
        return self.events[-1]


class KeepPictures(Keep):
    """A sink that shows pictures too; everything in the order in which it came."""

    wants_picture = True

    def __init__(self) -> None:
        super().__init__("pictures")
        self.order: list[Event | int] = []

    def emit(self, event: Event) -> None:
        super().emit(event)
        self.order.append(event)

    def show(self, frame: Frame, image: npt.NDArray[np.uint8]) -> None:
        assert image is frame.data
        self.order.append(frame.index)


def pipeline(
    source: FakeSource,
    sinks: Sequence[Sink],
    recogniser: FakeRecogniser | None = None,
    *,
    fallback: FakeRecogniser | None = None,
    policy: PolicyName = "auto",
    deadline_ms: float | None = None,
    limits: RunLimits | None = None,
    stop: StopFlag | None = None,
    lineup: Lineup | None = None,
) -> Pipeline:
    recogniser = recogniser or FakeRecogniser()
    chosen = choose(
        policy,
        live=source.info.live,
        hop=recogniser.hop,
        clip_length=recogniser.clip_length,
        fallback=fallback is not None,
    )
    times = StageTimes()
    return Pipeline(
        source,
        lineup or Lineup({"main": recogniser, **({"fallback": fallback} if fallback else {})}),
        sinks,
        chosen=chosen,
        times=times,
        monitor=StageMonitor(Budgets.derive(recogniser.fps, recogniser.hop, deadline_ms), times),
        limits=limits,
        stop=stop,
    )
