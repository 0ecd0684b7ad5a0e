"""``/metrics`` is valid exposition text whose histograms say exactly what share of results was in time."""

from __future__ import annotations

import re

import pytest

from edge_runtime.events import Fault
from edge_runtime.health import State
from edge_runtime.report.histogram import LatencyHistogram
from edge_runtime.sinks.prometheus import Metrics, StageMetrics, exposition
from tests.edge_runtime.sinks.live import FakeRun, result, start

SAMPLE = re.compile(r'^([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)$')


def samples(text: str) -> dict[tuple[str, str], float]:
    """``(name, labels) -> value``; fails on a line that is no exposition text."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert re.match(r"^# (HELP|TYPE) [a-z_]+ .+$", line)
            continue
        match = SAMPLE.match(line)
        assert match, line
        assert (match[1], match[2] or "") not in found
        found[match[1], match[2] or ""] = float(match[3])
    return found


def metrics(durations_ms: list[float], budget_ms: float) -> Metrics:
    histogram = LatencyHistogram()
    for value in durations_ms:
        histogram.record(round(value * 1e6))
    misses = sum(value > budget_ms for value in durations_ms)
    stage = StageMetrics(histogram, round(budget_ms * 1e6), misses)
    return Metrics(State.OK, 10, 8, {"overload": 2}, {"capture_to_result": stage})


def test_the_bucket_at_the_budget_is_exact() -> None:
    """Shows that samples within the histogram's own rounding of the budget still fall on the right side of it."""
    durations = [199.9, 200.0, 200.001, 200.2, 50.0, 900.0]
    found = samples(exposition(metrics(durations, 200.0)))
    assert found["edge_capture_to_result_seconds_bucket", 'le="0.2"'] == 3
    assert found["edge_capture_to_result_seconds_bucket", 'le="+Inf"'] == 6
    assert found["edge_capture_to_result_seconds_count", ""] == 6
    assert found["edge_capture_to_result_seconds_sum", ""] == pytest.approx(sum(durations) / 1000)
    assert found["edge_deadline_missed_total", 'stage="capture_to_result"'] == 3


def test_buckets_never_fall() -> None:
    durations = [1.01**n for n in range(1, 700)]
    text = exposition(metrics(durations, 20.0))
    counts = [int(line.split()[-1]) for line in text.splitlines() if "_bucket{" in line]
    assert counts == sorted(counts)
    assert counts[-1] == len(durations)


def test_a_run_is_told_whole() -> None:
    run = FakeRun()
    run.emit(start())
    run.play(3)
    run.emit(Fault("gap", 1.0))
    run.account.captured_and_dropped("overload")
    run.account.sinks = lambda: {"jsonl": {"emitted": 9, "failed": 3, "lost": 2}}
    found = samples(exposition(run.telemetry.metrics(viewers=2)))
    assert found["edge_frames_captured_total", ""] == 19
    assert found["edge_frames_processed_total", ""] == 18
    assert found["edge_frames_dropped_total", 'reason="overload"'] == 1
    assert found["edge_results_total", 'label="hug"'] == 3
    assert found["edge_segments_total", 'label="hug"'] == 1
    assert found["edge_faults_total", 'kind="gap"'] == 1
    assert found["edge_state", 'state="ok"'] == 1
    assert found["edge_state", 'state="hung"'] == 0
    assert found["edge_ready", ""] == 1
    assert found["edge_temperature_celsius", ""] == 61.5
    assert found["edge_viewers", ""] == 2
    assert found["edge_sink_failed_total", 'sink="jsonl"'] == 3
    assert found["edge_sink_lost_total", 'sink="jsonl"'] == 2
    assert found["edge_imfe_encoder_seconds_count", ""] == 18
    assert found["edge_budget_seconds", 'stage="capture_to_result"'] == pytest.approx(0.2)


def test_before_the_first_frame_there_is_text_too() -> None:
    found = samples(exposition(FakeRun().telemetry.metrics()))
    assert found["edge_state", 'state="starting"'] == 1
    assert ("edge_frame_age_seconds", "") not in found


def test_label_values_are_escaped_and_hold_no_secret() -> None:
    run = FakeRun()
    run.emit(start("rtsp://me:hunter2@cam/live"))
    run.emit(result(5, 'a "quoted"\nback\\slash'))
    text = exposition(run.telemetry.metrics())
    samples(text)
    assert r'label="a \"quoted\"\nback\\slash"' in text
    assert "hunter2" not in text
