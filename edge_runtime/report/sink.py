"""A sink that remembers a run for its report, in constant memory however long the run."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_runtime.errors import InputError
from edge_runtime.events import Event, Fault, Features, Result, Start, Summary
from edge_runtime.pipeline.budgets import WHOLE
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.report import report
from edge_runtime.report.device import Device, Reading
from edge_runtime.report.histogram import LatencyHistogram
from edge_runtime.report.timeline import Timeline

_READ_EVERY_NS = 1_000_000_000
_READINGS_KEPT = 600
_FAULTS_KEPT = 200


class ReportSink:
    """Takes a run's events; `report` tells of the run, `close` writes it to ``folder`` if one was given.

    ``frames`` tells where every frame went so far (`Account.snapshot`), once the pipeline is there: drops are then
    seen on the timeline. The device is looked at once a second, on the thread that calls `emit`, never on the one that
    infers.

    Raises:
        InputError: ``folder`` cannot be made or written to.
    """

    name = "report"

    def __init__(
        self,
        monitor: StageMonitor,
        *,
        kind: str = "run",
        folder: Path | None = None,
        settings: dict[str, Any] | None = None,
        command: str | None = None,
        device: Device | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        if folder is not None:
            _prepare(folder)
        self.frames: Callable[[], dict[str, Any]] | None = None
        self._monitor = monitor
        self._kind = kind
        self._folder = folder
        self._settings = settings or {}
        self._command = command
        self._device = device or Device(clock=clock)
        self._clock = clock
        self._begun_ns = clock()
        self._read_ns = self._begun_ns
        self._start: Start | None = None
        self._summary: Summary | None = None
        self._timeline = Timeline()
        self._dropped: Counter[str] = Counter()
        self._intervals = LatencyHistogram()  # deviation of the time between results from their period
        self._result_ns: int | None = None
        self._result_frame: int | None = None
        self._faults: list[dict[str, Any]] = []
        self._faults_left_out = 0
        self._first_reading: Reading | None = None
        self._readings: list[Reading] = []
        self._read_every_ns = _READ_EVERY_NS

    def emit(self, event: Event) -> None:
        now = self._clock()
        t_s = (now - self._begun_ns) / 1e9
        if isinstance(event, Start):
            self._start = event
            self._begun_ns = self._read_ns = now
            self._first_reading = self._device.read()
        elif isinstance(event, Result | Features):
            self._result(event, now, t_s)
        elif isinstance(event, Fault):
            self._fault(event, t_s)
        elif isinstance(event, Summary):
            self._summary = event
            self._look(now)
        self._count_drops(t_s)
        if now - self._read_ns >= self._read_every_ns:
            self._look(now)

    def _result(self, event: Result | Features, now: int, t_s: float) -> None:
        ms = event.capture_to_result_ms
        self._timeline.result(t_s, ms, ms > self._monitor.budgets.ms[WHOLE])
        if event.frame == self._result_frame:
            return  # another body of the same moment
        if self._result_ns is not None and self._start is not None:
            period_ns = self._start.hop / self._start.fps * 1e9
            self._intervals.record(abs(now - self._result_ns - round(period_ns)))
        self._result_frame, self._result_ns = event.frame, now

    def _fault(self, event: Fault, t_s: float) -> None:
        if len(self._faults) < _FAULTS_KEPT:
            self._faults.append({"t_s": t_s, "kind": event.kind, "detail": event.detail})
        else:
            self._faults_left_out += 1

    def _count_drops(self, t_s: float) -> None:
        if self.frames is None:
            return
        dropped = Counter(self.frames()["dropped"])
        for reason, count in (dropped - self._dropped).items():
            self._timeline.dropped(t_s, reason, count)
        self._dropped = dropped

    def _look(self, now: int) -> None:
        self._read_ns = now
        self._readings.append(self._device.read())
        if len(self._readings) > _READINGS_KEPT:  # half as often from now on
            del self._readings[1::2]
            self._read_every_ns *= 2

    def report(self) -> dict[str, Any]:
        """The run as ``report.json`` has it.

        Raises:
            RuntimeError: the run has not ended.
        """
        if self._start is None or self._summary is None:
            raise RuntimeError("there is no report before the run's summary")
        return report.build(
            kind=self._kind,
            command=self._command,
            settings=self._settings,
            start=self._start,
            summary=self._summary,
            monitor=self._monitor,
            timeline=self._timeline,
            intervals=self._intervals,
            faults=self._faults,
            faults_left_out=self._faults_left_out,
            facts=self._device.facts(),
            first_reading=self._first_reading,
            readings=self._readings,
        )

    def close(self) -> None:
        if self._folder is not None and self._summary is not None:
            report.write(self.report(), self._folder)


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        report.remove(folder)
    except OSError as error:
        raise InputError(f"report folder {folder}: {error.strerror}; name one that can be written to") from error
