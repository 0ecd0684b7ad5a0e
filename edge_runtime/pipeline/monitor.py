"""What each stage did take: distribution, budget misses, the worst frames; in constant memory however long the run."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_runtime.pipeline.budgets import STAGES, WHOLE, Budgets
from edge_runtime.pipeline.timing import Passes, StageTimes
from edge_runtime.report.histogram import LatencyHistogram

_RECENT = 512  # passes that the live figures speak of
_WORST_KEPT = 10

# A third party's clip model has no parts; all of it is paid once a result, as the head is.
_RECORDED_AS = {"imfe.clip": "imfe.head"}


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """One of the slowest results of a run and where its time went."""

    frame: int
    capture_to_result_ms: float
    stages_ms: dict[str, float]


class _StageRecord:
    """One stage's distribution, its misses, and its recent passes."""

    def __init__(self, budget_ns: int) -> None:
        self.budget_ns = budget_ns
        self.histogram = LatencyHistogram()
        self.misses = 0
        self.miss_run = 0
        self.longest_miss_run = 0
        self.times = np.zeros(0, np.int64)  # of the recent passes, ns
        self.frames = np.zeros(0, np.int64)  # and the index of the frame that each ran for

    def count(self, passes: Passes) -> None:
        """Join what is known; `forget` must follow."""
        times = passes.ends - passes.starts
        self.histogram.record_all(times)
        self._count_misses(times > self.budget_ns)
        self.times = np.concatenate((self.times, times))
        self.frames = np.concatenate((self.frames, passes.frames))

    def _count_misses(self, late: npt.NDArray[np.bool_]) -> None:
        self.misses += int(late.sum())
        kept = np.flatnonzero(~late)
        if not len(kept):
            self.miss_run += len(late)
            self.longest_miss_run = max(self.longest_miss_run, self.miss_run)
            return
        between = int(np.diff(kept).max(initial=1)) - 1
        self.longest_miss_run = max(self.longest_miss_run, self.miss_run + int(kept[0]), between)
        self.miss_run = len(late) - 1 - int(kept[-1])
        self.longest_miss_run = max(self.longest_miss_run, self.miss_run)

    def forget(self) -> None:
        """All but the recent past."""
        self.times, self.frames = self.times[-_RECENT:].copy(), self.frames[-_RECENT:].copy()

    def of_frame(self, frame: int) -> float | None:
        """Milliseconds of all its passes; None where it had none lately."""
        its = self.times[self.frames == frame]
        return float(its.sum()) / 1e6 if len(its) else None


class StageMonitor:
    """Latency of every stage: distribution over the run and over the recent past, misses, worst frames.

    Watches ``times`` and counts what they deliver, a few hundred frames at once or when somebody reads. Any thread may
    read.
    """

    def __init__(self, budgets: Budgets, times: StageTimes) -> None:
        self.budgets = budgets
        self._times = times
        self._counting = threading.Lock()
        self._records = {stage: _StageRecord(budgets.ns(stage)) for stage in STAGES}
        self._worst: list[WorstFrame] = []
        times.watch(self._count)

    def _count(self, found: Mapping[str, Passes]) -> None:
        """Raises KeyError: a stage that is not in `STAGES`."""
        with self._counting:
            for stage, passes in found.items():
                self._records[_RECORDED_AS.get(stage, stage)].count(passes)
            if WHOLE in found:
                self._keep_worst(found[WHOLE])
            for record in self._records.values():
                record.forget()

    def _keep_worst(self, results: Passes) -> None:
        times = results.ends - results.starts
        slowest = np.argsort(-times, kind="stable")[:_WORST_KEPT]
        for ns, frame in zip(times[slowest].tolist(), results.frames[slowest].tolist(), strict=True):
            if len(self._worst) < _WORST_KEPT or ns / 1e6 > self._worst[-1].capture_to_result_ms:
                self._worst.append(WorstFrame(frame, ns / 1e6, self._parts(frame)))
                self._worst.sort(key=lambda one: -one.capture_to_result_ms)
                del self._worst[_WORST_KEPT:]

    def _parts(self, frame: int) -> dict[str, float]:
        of_stages = {stage: record.of_frame(frame) for stage, record in self._records.items() if stage != WHOLE}
        return {stage: ms for stage, ms in of_stages.items() if ms is not None}

    def worst(self) -> tuple[WorstFrame, ...]:
        """The slowest results, slowest first."""
        self._times.deliver()
        with self._counting:
            return tuple(self._worst)

    def summary(self) -> dict[str, dict[str, Any]]:
        """The run so far, for each stage that ran: what the summary event and the report carry."""
        self._times.deliver()
        with self._counting:
            return {stage: _figures(record) for stage, record in self._records.items() if record.histogram.n}

    def live(self) -> dict[str, dict[str, Any]]:
        """The last 512 passes of each stage that ran: percentiles, and the share that missed the budget."""
        self._times.deliver()
        with self._counting:
            return {stage: _recent(record) for stage, record in self._records.items() if record.histogram.n}

    def histogram(self, stage: str) -> LatencyHistogram:
        """The stage's whole run, as it is now: a copy."""
        self._times.deliver()
        with self._counting:
            copy = LatencyHistogram()
            copy.merge(self._records[stage].histogram)
            return copy


def _recent(record: _StageRecord) -> dict[str, Any]:
    times = np.sort(record.times)
    n = len(times)
    return {
        "n": n,
        **{f"p{p}_ms": _ms(times[math.ceil(n * p / 100) - 1]) for p in (50, 90, 95, 99)},
        "max_ms": _ms(times[-1]),
        "budget_ms": record.budget_ns / 1e6,
        "miss_ratio": float(np.mean(times > record.budget_ns)),
    }


def _figures(record: _StageRecord) -> dict[str, Any]:
    histogram = record.histogram
    return {
        "n": histogram.n,
        "mean_ms": _ms(histogram.mean_ns),
        **{f"p{p}_ms": _ms(histogram.percentile(p)) for p in (50, 90, 95, 99)},
        "p999_ms": _ms(histogram.p999),
        "max_ms": _ms(histogram.max_ns),
        "budget_ms": record.budget_ns / 1e6,
        "misses": record.misses,
        "longest_miss_run": record.longest_miss_run,
    }


def _ms(ns: float | None) -> float | None:
    return None if ns is None else float(ns) / 1e6
