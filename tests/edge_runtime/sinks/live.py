"""A pretend run for the sinks that show one: real monitor, account and health, frames and results by hand."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from edge_runtime.events import Event, Result, Segment, Start
from edge_runtime.health import HealthMonitor
from edge_runtime.pipeline.accounting import Account
from edge_runtime.pipeline.budgets import Budgets
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.report.device import Reading
from edge_runtime.sinks.base import FrameSink, Sink
from edge_runtime.sources.base import Frame
from edge_runtime.telemetry import Telemetry

READING = Reading(
    t_s=1.0,
    temperature_c=61.5,
    cpu_mhz=2400.0,
    throttled=(),
    gpu_percent=None,
    cpu_percent=40.0,
    other_percent=5.0,
    rss_mb=128.0,
)
LABELS = ("hand-shake", "hug", "kick")


def start(source: str = "front door") -> Start:
    return Start(version="1", source=source, models={}, labels=LABELS, hop=6, fps=30.0, policy="drop-oldest")


def result(frame: int, label: str = "hug", *, warm: bool = True) -> Result:
    top = ((label, 0.9), ("kick", 0.1))
    return Result(frame, frame / 30, label, 0.9, top, warm=warm, capture_to_result_ms=120.0)


@dataclass
class FakeRun:
    """What a sink would see of a run; `frame` and `emit` are its two verbs."""

    sinks: list[Sink | FrameSink] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.times = StageTimes()
        self.monitor = StageMonitor(Budgets.derive(30, 6), self.times)
        self.account = Account()
        self.health = HealthMonitor(lambda: self.account.newest_ns)
        self.telemetry = Telemetry(self.monitor, self.account, self.health, lambda: READING)
        self.sinks.append(self.telemetry)
        self.frames = 0

    def frame(self, image: npt.NDArray[np.uint8] | None = None) -> None:
        image = np.full((120, 160, 3), self.frames * 40 % 256, np.uint8) if image is None else image
        frame = Frame(image, self.frames, self.frames / 30, time.monotonic_ns())
        self.account.captured()
        self.account.processed()
        self.times.tell("imfe.encoder", 0, 9_000_000, self.frames)
        self.account.newest_ns = frame.captured_ns
        for sink in self.sinks:
            if getattr(sink, "wants_picture", False):
                sink.show(frame, image)
        self.frames += 1

    def emit(self, event: Event) -> None:
        if isinstance(event, Result):
            self.times.tell("capture_to_result", 0, round(event.capture_to_result_ms * 1e6), event.frame)
        for sink in self.sinks:
            sink.emit(event)

    def play(self, hops: int = 1) -> None:
        """Some seconds of an ordinary run, at once."""
        for _ in range(hops):
            for _ in range(6):
                self.frame()
            self.emit(result(self.frames - 1))
        self.emit(Segment("hug", 0.0, self.frames / 30, 0.9))
