"""What each stage may take, and what it did take.

The whole, ``capture_to_result``, is the promise: a result is known that long after the camera saw its last frame. By
default it is one hop of the source (6 frames at 30 FPS: 200 ms), the age at which the next result is due. The stages
share it out so that a run in which every stage keeps its budget both keeps the promise *and* keeps up with the source:

    stage          share   of              30 FPS, hop 6
    capture          10 %  hop                 20   ms   stamp -> taken by preprocess: decode, hand-over, waiting
    preprocess        5 %  frame interval       1.7 ms
    imfe.encoder     45 %  frame interval      15   ms
    imfe.motion      10 %  frame interval       3.3 ms
    imfe.head        15 %  hop                 30   ms
    rtstgcn           5 %  hop                 10   ms
    sinks            10 %  hop                 20   ms   waiting for, and in, the sink thread

``--budgets FILE.toml`` sets any of them in milliseconds, one ``stage = number`` a line (``imfe.encoder = 20``). Its
table ``[health]`` is not ours: `edge_runtime.health.Thresholds`.
"""

from __future__ import annotations

import math
import threading
from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from edge_runtime.errors import InputError
from edge_runtime.report.histogram import LatencyHistogram, SlidingWindow
from edge_runtime.toml import read_toml

WHOLE = "capture_to_result"
STAGES = ("capture", "preprocess", "imfe.encoder", "imfe.motion", "imfe.head", "rtstgcn", "sinks", WHOLE)

_FRAME_SHARES = {"preprocess": 0.05, "imfe.encoder": 0.45, "imfe.motion": 0.10}  # paid on every frame
_HOP_SHARES = {"capture": 0.10, "imfe.head": 0.15, "rtstgcn": 0.05, "sinks": 0.10}  # paid once a result

_FRAMES_REMEMBERED = 64  # frames between a stage's end and its result: queues hold a few
_WORST_KEPT = 10
_BATCH = 64  # some twelve frames' stages


@dataclass(frozen=True, slots=True)
class Budgets:
    """Milliseconds for every stage of `STAGES`."""

    ms: Mapping[str, float]

    @classmethod
    def derive(
        cls,
        fps: float,
        hop: int,
        deadline_ms: float | None = None,
        overrides: Mapping[str, float] | None = None,
    ) -> Self:
        """Budgets of a source of ``fps`` frames a second with a result every ``hop`` frames.

        ``overrides`` (stage -> ms, as `read_overrides` gives) replace derived values; ``deadline_ms`` is
        ``capture_to_result`` and comes before theirs.

        Raises:
            InputError: a stage that does not exist, a value that is no positive number, or stages that sum to more
                than the whole.
        """
        given = dict(overrides or {})
        if deadline_ms is not None:
            given[WHOLE] = deadline_ms
        for stage, value in given.items():
            _check(stage, value)
        interval = 1000 / fps
        whole = given.get(WHOLE, hop * interval)
        slots = ((_FRAME_SHARES, min(interval, whole)), (_HOP_SHARES, min(hop * interval, whole)))
        derived = {stage: share * slot for shares, slot in slots for stage, share in shares.items()}
        parts = derived | {stage: value for stage, value in given.items() if stage != WHOLE}
        total = sum(parts.values())
        if total > whole * (1 + 1e-9):
            raise InputError(
                f"budgets: the stages sum to {total:.1f} ms, more than {WHOLE} = {whole:.1f} ms; "
                f"lower {max(parts, key=parts.__getitem__)} or raise {WHOLE} (--deadline-ms)"
            )
        return cls({stage: (parts | {WHOLE: whole})[stage] for stage in STAGES})

    def ns(self, stage: str) -> int:
        return round(self.ms[stage] * 1e6)


def read_overrides(path: Path) -> dict[str, float]:
    """Stage -> ms from a budgets file.

    Raises:
        InputError: no such file, no TOML, a stage that does not exist, or a value that is no positive number.
    """
    tables = read_toml(path, "budgets file")
    tables.pop("health", None)  # thresholds of the health states share the file (cli/watch.py)
    flat = _flatten(tables)
    for stage, value in flat.items():
        _check(stage, value)
    return flat


def _flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"imfe": {"head": 30}}`` -> ``{"imfe.head": 30}``: what TOML makes of a dotted key, undone."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _check(stage: str, value: Any) -> None:
    if stage not in STAGES:
        raise InputError(f"budgets: unknown stage '{stage}'; the stages are {', '.join(STAGES)}")
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise InputError(f"budgets: {stage} must be a positive number of milliseconds, found {value!r}")


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """One of the slowest results of a run and where its time went."""

    frame: int
    capture_to_result_ms: float
    stages_ms: dict[str, float]


class _StageRecord:
    """One stage's distribution, its recent past, its misses, and its last `_FRAMES_REMEMBERED` frames."""

    __slots__ = ("budget_ns", "frames", "histogram", "longest_miss_run", "miss_run", "misses", "times", "window")

    def __init__(self, budget_ns: int) -> None:
        self.budget_ns = budget_ns
        self.histogram = LatencyHistogram()
        self.window = SlidingWindow()
        self.misses = 0
        self.miss_run = 0
        self.longest_miss_run = 0
        self.frames = array("q", [-1] * _FRAMES_REMEMBERED)  # frame index held by each slot
        self.times = array("q", [0] * _FRAMES_REMEMBERED)  # and its time in this stage, ns

    def add(self, ns: int, frame: int) -> None:
        self.histogram.record(ns)
        self.window.record(ns)
        slot = frame % _FRAMES_REMEMBERED
        self.frames[slot] = frame
        self.times[slot] = ns
        if ns <= self.budget_ns:
            self.miss_run = 0
            return
        self.misses += 1
        self.miss_run += 1
        if self.miss_run > self.longest_miss_run:
            self.longest_miss_run = self.miss_run


class StageMonitor:
    """Latency of every stage: distribution over the run and over the recent past, misses, worst frames.

    Any thread may record and any may read. Memory is constant: `record` notes the time and leaves the counting for
    when `_BATCH` have gathered, or somebody reads. Counted one by one between two runs of a network, whose weights
    have swept the caches, a frame's four stages cost 38 us; in batches 17 (benchmarks.instrumentation, RT-ST-GCN).
    """

    def __init__(self, budgets: Budgets) -> None:
        self.budgets = budgets
        self._noted: deque[tuple[str, int, int]] = deque()
        self._counting = threading.Lock()
        self._records = {stage: _StageRecord(budgets.ns(stage)) for stage in STAGES}
        self._worst: list[WorstFrame] = []

    def record(self, stage: str, ns: int, frame: int) -> None:
        """Note ``ns`` nanoseconds of ``stage`` (of `STAGES`) for frame index ``frame``.

        Record ``capture_to_result`` of a frame after its other stages: the worst frames take their times from those.
        """
        self._noted.append((stage, ns, frame))
        if len(self._noted) >= _BATCH and self._counting.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._counting.release()

    def _count(self) -> None:
        """Count what was noted. Holds the lock.

        Raises:
            KeyError: a stage that is not in `STAGES`.
        """
        while self._noted:
            stage, ns, frame = self._noted.popleft()
            record = self._records[stage]
            record.add(ns, frame)
            if stage == WHOLE and (len(self._worst) < _WORST_KEPT or ns > self._worst[-1].capture_to_result_ms * 1e6):
                self._keep_worst(frame, ns)

    def _keep_worst(self, frame: int, ns: int) -> None:
        slot = frame % _FRAMES_REMEMBERED
        parts = {
            stage: record.times[slot] / 1e6
            for stage, record in self._records.items()
            if stage != WHOLE and record.frames[slot] == frame
        }
        worst = [*self._worst, WorstFrame(frame, ns / 1e6, parts)]
        self._worst = sorted(worst, key=lambda item: -item.capture_to_result_ms)[:_WORST_KEPT]

    def worst(self) -> tuple[WorstFrame, ...]:
        """The slowest results, slowest first."""
        with self._counting:
            self._count()
            return tuple(self._worst)

    def summary(self) -> dict[str, dict[str, Any]]:
        """The run so far, for each stage that ran: what the summary event and the report carry."""
        with self._counting:
            self._count()
            return {stage: _figures(record) for stage, record in self._records.items() if record.histogram.n}

    def live(self) -> dict[str, dict[str, Any]]:
        """The last 512 passes of each stage that ran: percentiles, and the share that missed the budget."""
        with self._counting:
            self._count()
            return {stage: _recent(record) for stage, record in self._records.items() if record.window.n}

    def histogram(self, stage: str) -> LatencyHistogram:
        """The stage's whole run, as it is now: a copy."""
        with self._counting:
            self._count()
            copy = LatencyHistogram()
            copy.merge(self._records[stage].histogram)
            return copy


def _recent(record: _StageRecord) -> dict[str, Any]:
    samples = record.window.samples()
    n = len(samples)
    return {
        "n": n,
        **{f"p{p}_ms": samples[math.ceil(n * p / 100) - 1] / 1e6 for p in (50, 90, 95, 99)},
        "max_ms": samples[-1] / 1e6,
        "budget_ms": record.budget_ns / 1e6,
        "miss_ratio": sum(ns > record.budget_ns for ns in samples) / n,
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
    return None if ns is None else ns / 1e6
