"""``report.json``: what was measured, on what, and whether to believe it. ``report.schema.json`` is its contract."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from edge_runtime.events import Start, Summary
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.report import html
from edge_runtime.report.device import Facts, Reading, rss_slope_mb_per_hour
from edge_runtime.report.histogram import LatencyHistogram
from edge_runtime.report.timeline import Timeline
from edge_runtime.report.verdict import judge

SCHEMA_VERSION = 1
JSON_NAME, HTML_NAME = "report.json", "report.html"


def build(
    *,
    kind: str,
    command: str | None,
    settings: dict[str, Any],
    start: Start,
    summary: Summary,
    monitor: StageMonitor,
    timeline: Timeline,
    intervals: LatencyHistogram,
    faults: Sequence[dict[str, Any]],
    faults_left_out: int,
    facts: Facts,
    first_reading: Reading | None,
    readings: list[Reading],
) -> dict[str, Any]:
    """The report of one run, with its verdict."""
    report: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "kind": kind,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "tool": {"version": start.version, "command": command},
        "settings": settings,
        "run": {
            "source": start.source,
            "models": start.models,
            "providers": summary.providers,
            "policy": start.policy,
            "hop": start.hop,
            "fps": start.fps,
            "duration_s": summary.duration_s,
            "results": summary.results,
            "segments": summary.segments,
            "ended_by": summary.ended_by,
        },
        "warmup": None,
        "frames": summary.frames,
        "stages": {name: _stage(figures, monitor.histogram(name)) for name, figures in monitor.summary().items()},
        "jitter": _jitter(intervals),
        "worst": [asdict(item) for item in monitor.worst()],
        "timeline": timeline.as_json(),
        "faults": list(faults),
        "faults_left_out": faults_left_out,
        "device": _device(facts, first_reading, readings),
        "throughput": None,
        "streams": None,
        "comparison": None,
    }
    return with_verdict(report)


def with_verdict(report: dict[str, Any]) -> dict[str, Any]:
    """The report, judged (again, after something was added to it)."""
    return report | {"verdict": judge(report)}


def _stage(figures: dict[str, Any], histogram: LatencyHistogram) -> dict[str, Any]:
    """A stage's summary, and the distribution that it was taken from."""
    return figures | {
        "min_ms": histogram.min_ns / 1e6,
        "std_ms": (histogram.std_ns or 0.0) / 1e6,
        "histogram": [[lower / 1e6, (upper + 1) / 1e6, n] for lower, upper, n in histogram.buckets()],
    }


def _jitter(intervals: LatencyHistogram) -> dict[str, Any] | None:
    p50, p99 = intervals.percentile(50), intervals.percentile(99)
    if p50 is None or p99 is None:
        return None
    return {"n": intervals.n, "p50_ms": p50 / 1e6, "p99_ms": p99 / 1e6, "max_ms": intervals.max_ns / 1e6}


def _device(facts: Facts, first: Reading | None, readings: list[Reading]) -> dict[str, Any]:
    everything = ([first] if first else []) + readings
    temperatures = [r.temperature_c for r in everything if r.temperature_c is not None]
    flags = [r.throttled for r in everything if r.throttled is not None]
    seen = sorted({flag for reading in flags for flag in reading})
    return {
        "facts": asdict(facts),
        "temperature_c": _span(temperatures),
        "rss_mb": _span([r.rss_mb for r in everything]),
        "rss_slope_mb_per_hour": rss_slope_mb_per_hour(readings),
        "throttled": seen if flags else None,
        "cpu_percent_mean": _mean([r.cpu_percent for r in readings]),
        "other_percent_mean": _mean([r.other_percent for r in readings]),
        "readings": [asdict(r) for r in everything],
    }


def _span(values: list[float]) -> dict[str, float] | None:
    return {"start": values[0], "max": max(values), "end": values[-1]} if values else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def write(report: dict[str, Any], folder: Path) -> None:
    """Both files, each complete or not there at all: written beside and moved.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in ((JSON_NAME, json.dumps(report, indent=1, allow_nan=False)), (HTML_NAME, html.page(report))):
        unfinished = folder / f".{name}.part"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(folder / name)


def remove(folder: Path) -> None:
    """Take away an earlier report: it must not lie there while a new run goes on, nor after one that failed.

    Raises:
        OSError: it cannot be removed.
    """
    for name in (JSON_NAME, HTML_NAME):
        (folder / name).unlink(missing_ok=True)


def schema() -> dict[str, Any]:
    """The JSON Schema of ``report.json``."""
    text = resources.files("edge_runtime.report").joinpath("report.schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))
