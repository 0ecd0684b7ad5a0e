"""The run as an onlooker sees it: one gatherer behind the web page, ``/metrics``, MQTT's state and systemd's status.

It listens as a sink does, and reads the pipeline's own account and stage monitor when somebody asks; nothing is
computed while nobody looks.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from edge_runtime import __version__
from edge_runtime.events import Event, Fault, Result, Segment, Start
from edge_runtime.health import HealthMonitor
from edge_runtime.pipeline.accounting import Account
from edge_runtime.pipeline.budgets import WHOLE
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.report.device import Reading
from edge_runtime.sinks.prometheus import Metrics, StageMetrics

_READING_LASTS_NS = 1_000_000_000  # a look takes 1 ms, and on a Raspberry Pi may start a process


class Telemetry:
    """What is known of a run: counts of what it emitted, and views on what it measures. Any thread may ask.

    A `Sink`; it hands events on to ``health``, so that the two are one sink of the pipeline.
    """

    name = "telemetry"

    def __init__(
        self,
        monitor: StageMonitor,
        account: Account,
        health: HealthMonitor,
        device: Callable[[], Reading],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.health = health
        self._monitor = monitor
        self._account = account
        self._device = device
        self._reading: Reading | None = None
        self._reading_ns = 0
        self._reading_lock = threading.Lock()
        self._clock = clock
        self._launched_ns = clock()
        self._results: Counter[str] = Counter()
        self._segments: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._build = {"version": __version__}

    def emit(self, event: Event) -> None:
        self.health.emit(event)
        if isinstance(event, Result):
            self._results[event.label] += 1
        elif isinstance(event, Segment):
            self._segments[event.label] += 1
        elif isinstance(event, Fault):
            self._faults[event.kind] += 1
        elif isinstance(event, Start):
            self._build["source"] = event.source

    def close(self) -> None:
        """Nothing is held."""

    def device(self) -> Reading:
        """The device, looked at once a second at most however many ask."""
        with self._reading_lock:
            now = self._clock()
            if self._reading is None or now - self._reading_ns > _READING_LASTS_NS:
                self._reading, self._reading_ns = self._device(), now
            return self._reading

    def status(self) -> dict[str, Any]:
        """The live figures as JSON: state, frames, recent latencies, faults, device."""
        device = self.device()
        return {
            "state": self.health.state(),
            "uptime_s": (self._clock() - self._launched_ns) / 1e9,
            "frame_age_s": self.health.frame_age_s,
            "frames": self._account.snapshot(),
            "stages": self._monitor.live(),
            "faults": dict(self._faults.copy()),
            "sinks": self._account.sinks(),
            "device": asdict(device),
        }

    def metrics(self, viewers: int | None = None) -> Metrics:
        """Everything since the start, for Prometheus."""
        device = self.device()
        frames = self._account.snapshot()
        sinks = self._account.sinks()
        summary = self._monitor.summary()
        return Metrics(
            state=self.health.state(),
            captured=frames["captured"],
            processed=frames["processed"],
            dropped=frames["dropped"],
            stages={
                stage: StageMetrics(self._monitor.histogram(stage), self._monitor.budgets.ns(stage), figures["misses"])
                for stage, figures in summary.items()
            },
            results=self._results.copy(),
            segments=self._segments.copy(),
            faults=self._faults.copy(),
            sink_failed={sink: tally["failed"] for sink, tally in sinks.items()},
            sink_lost={sink: tally["lost"] for sink, tally in sinks.items()},
            frame_age_s=self.health.frame_age_s,
            temperature_c=device.temperature_c,
            rss_bytes=round(device.rss_mb * 2**20),
            viewers=viewers,
            build=self._build,
        )


def recent_miss_ratio(monitor: StageMonitor) -> float:
    """Share of the last 512 results that were late: what makes a run ``degraded``."""
    whole = monitor.live().get(WHOLE)
    return whole["miss_ratio"] if whole else 0.0
