"""``/metrics``: the run as Prometheus text (exposition format 0.0.4), histograms with a bucket at every budget.

A percentile cannot be added up over a fleet, a histogram can; and because the budget itself is a bucket's bound,
``edge_capture_to_result_seconds_bucket{le="0.2"}`` over ``_count`` is *exactly* the share of results in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from edge_runtime.health import State
from edge_runtime.redaction import redact
from edge_runtime.report.histogram import LatencyHistogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_AROUND_BUDGET = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)


@dataclass(frozen=True, slots=True)
class StageMetrics:
    """One stage's latencies so far, its budget (ns) and how often it was missed."""

    histogram: LatencyHistogram
    budget_ns: int
    misses: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """Everything that ``/metrics`` says; ``None`` is left out."""

    state: State
    captured: int
    processed: int
    dropped: Mapping[str, int]
    stages: Mapping[str, StageMetrics]
    results: Mapping[str, int] = field(default_factory=dict)  # by label
    segments: Mapping[str, int] = field(default_factory=dict)
    faults: Mapping[str, int] = field(default_factory=dict)  # by kind
    sink_failed: Mapping[str, int] = field(default_factory=dict)  # by sink
    sink_lost: Mapping[str, int] = field(default_factory=dict)
    frame_age_s: float | None = None
    temperature_c: float | None = None
    rss_bytes: int | None = None
    viewers: int | None = None
    build: Mapping[str, str] = field(default_factory=dict)  # version, model names and digests


def exposition(metrics: Metrics) -> str:
    """``metrics`` as Prometheus text; label values are redacted and escaped."""
    return "\n".join(_lines(metrics)) + "\n"


def _lines(metrics: Metrics) -> Iterator[str]:
    yield from _family("edge_build_info", "gauge", "What runs here.", [(metrics.build, 1)])
    states = [({"state": state}, int(state is metrics.state)) for state in State]
    yield from _family("edge_state", "gauge", "1 for the state the run is in.", states)
    yield from _family("edge_ready", "gauge", "1 when results are valid and current.", [({}, int(metrics.state.ready))])
    yield from _family(
        "edge_frames_captured_total", "counter", "Frames the source delivered.", [({}, metrics.captured)]
    )
    yield from _family("edge_frames_processed_total", "counter", "Frames the networks saw.", [({}, metrics.processed)])
    counted = (
        ("edge_frames_dropped_total", "Frames left out, by reason.", "reason", metrics.dropped),
        ("edge_results_total", "Results, by label.", "label", metrics.results),
        ("edge_segments_total", "Completed actions, by label.", "label", metrics.segments),
        ("edge_faults_total", "Faults survived, by kind.", "kind", metrics.faults),
        ("edge_sink_failed_total", "Events or pictures that a sink refused.", "sink", metrics.sink_failed),
        ("edge_sink_lost_total", "Events or pictures that a slow sink missed.", "sink", metrics.sink_lost),
    )
    for name, text, label, counts in counted:
        yield from _family(name, "counter", text, [({label: key}, count) for key, count in counts.items()])
    gauges = (
        ("edge_frame_age_seconds", "Age of the newest frame.", metrics.frame_age_s),
        ("edge_temperature_celsius", "Hottest sensor of the device.", metrics.temperature_c),
        ("edge_resident_memory_bytes", "Resident memory of the process.", metrics.rss_bytes),
        ("edge_viewers", "Browsers that watch.", metrics.viewers),
    )
    for name, text, value in gauges:
        if value is not None:
            yield from _family(name, "gauge", text, [({}, value)])
    budgets = [({"stage": name}, stage.budget_ns / 1e9) for name, stage in metrics.stages.items()]
    yield from _family("edge_budget_seconds", "gauge", "What each stage may take.", budgets)
    misses = [({"stage": name}, stage.misses) for name, stage in metrics.stages.items()]
    yield from _family("edge_deadline_missed_total", "counter", "Passes over budget, by stage.", misses)
    for name, stage in metrics.stages.items():
        yield from _histogram(f"edge_{name.replace('.', '_')}_seconds", name, stage)


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield f"{name}{_labels(labels)} {value}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escape(redact(str(value)))}"' for key, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _histogram(name: str, stage: str, metrics: StageMetrics) -> Iterator[str]:
    bounds_ns = [round(share * metrics.budget_ns) for share in _AROUND_BUDGET]
    yield f"# HELP {name} Latency of {stage}; its budget is one of the bounds."
    yield f"# TYPE {name} histogram"
    buckets = list(metrics.histogram.buckets())  # one look, so that the lines agree with each other
    # the histogram's own buckets are 1.6 % wide; the one that holds the budget is split by the exact count of misses
    total = sum(count for _, _, count in buckets)
    for bound in bounds_ns:
        below = sum(count for _, upper, count in buckets if upper <= bound)
        if bound == metrics.budget_ns:
            below = total - metrics.misses
        yield f'{name}_bucket{{le="{bound / 1e9:.9g}"}} {below}'
    yield f'{name}_bucket{{le="+Inf"}} {total}'
    yield f"{name}_sum {metrics.histogram.sum_ns / 1e9:.9g}"
    yield f"{name}_count {total}"
