"""A run of 60 seconds on a simulated clock and device, as its sinks see it: what the report's tests look at."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from edge_runtime.events import Fault, Result, Start, Summary
from edge_runtime.pipeline.budgets import Budgets
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.report.device import Device, Reading
from edge_runtime.report.sink import ReportSink

MS = 1_000_000
FPS, HOP = 30, 6
SLOW_FROM_S = 40  # from here the device throttles: frames are lost, and one result is late


class FakeDevice(Device):
    """Warms up, and throttles from `SLOW_FROM_S` on; it has no GPU."""

    def __init__(self, clock: FakeClock, *, throttles: bool = True) -> None:
        super().__init__(Path("/nonexistent"), query=lambda command: None, clock=clock)
        self._now = clock
        self._throttles = throttles

    def read(self) -> Reading:
        t_s = self._now() / 1e9
        hot = self._throttles and t_s > SLOW_FROM_S
        held = ("throttled",) if hot else ()
        return Reading(t_s, 48 + t_s / 5, 1800 if hot else 2400, held, None, 42, 3, 118 + min(t_s, 20) * 0.4)


class FakeClock:
    now = 0

    def __call__(self) -> int:
        return self.now


def run(folder: Path | None = None, *, seconds: int = 60, throttles: bool = True) -> dict[str, Any]:
    """The report of the run; written to ``folder`` too, if one is given."""
    rng, clock = random.Random(1), FakeClock()
    times = StageTimes(clock)
    monitor = StageMonitor(Budgets.derive(FPS, HOP), times)
    device = FakeDevice(clock, throttles=throttles)
    sink = ReportSink(monitor, kind="bench", folder=folder, device=device, clock=clock, command="edge-bench")

    def frames() -> dict[str, Any]:
        lost = max(0, clock.now // 10**9 - SLOW_FROM_S) if throttles else 0
        return {"dropped": {"overload": lost, "rate": 3}}

    sink.frames = frames
    models = {"model": {"name": "imfe <tiny>", "sha256": "ab" * 32}, "head": {"name": "rtstgcn", "sha256": "cd" * 32}}
    sink.emit(Start("0.1.0", "clips/walk & run.mp4", models, ("walk", "run"), HOP, float(FPS), "block"))
    for i in range(seconds * FPS):
        clock.now = i * 10**9 // FPS
        parts = {"capture": 2 + rng.random(), "preprocess": 0.8, "imfe.encoder": rng.uniform(8, 12), "imfe.motion": 2.0}
        if i % HOP == HOP - 1:
            parts |= {"imfe.head": rng.uniform(10, 14), "rtstgcn": 0.5}
        for stage, ms in parts.items():
            times.tell(stage, 0, int(ms * MS), i)
        if i % HOP == HOP - 1:
            age = sum(parts.values()) + (180 if throttles and i == 50 * FPS - 1 else 0)
            times.tell("capture_to_result", 0, int(age * MS), i)
            clock.now += int(age * MS)
            sink.emit(Result(i, i / FPS, "walk", 0.9, (("walk", 0.9),), True, age))
            times.tell("sinks", 0, MS // 2, i)
        if throttles and i == SLOW_FROM_S * FPS:
            detail = {"reason": "result after 250 ms, budget 200 ms, 3 in a row"}
            sink.emit(Fault("degraded", i / FPS, detail))
    n, lost = seconds * FPS, frames()["dropped"]
    counts = {"captured": n + sum(lost.values()), "processed": n, "dropped": lost}
    results = n // HOP
    sink.emit(
        Summary(
            counts, monitor.summary(), results, 2, float(seconds), "end-of-stream", providers={"imfe.encoder": "cpu"}
        )
    )
    sink.close()
    return sink.report()
