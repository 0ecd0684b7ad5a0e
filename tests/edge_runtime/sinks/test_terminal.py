"""What a person at a terminal sees."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

from edge_runtime.events import Event, Fault, Result, Segment, Start, Summary
from edge_runtime.sinks.terminal import Terminal

START = Start("1", "clip.mp4", {}, ("wave", "none"), 6, 30.0, "block")
STAGE = {"n": 20, "p50_ms": 1.25, "p90_ms": 2.5, "p99_ms": 3.0, "max_ms": 4.0, "budget_ms": 10.0, "misses": 0}
SUMMARY = Summary(
    frames={"captured": 100, "processed": 50, "dropped": {"rate": 49, "unreadable": 1}},
    stages={"imfe.encoder": STAGE},
    results=8,
    segments=1,
    duration_s=3.3,
    ended_by="signal",
    sinks={"jsonl": {"emitted": 1, "shown": 0, "lost": 2, "failed": 3}},
)


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def result(t: float) -> Result:
    return Result(0, t, "wave", 0.87, (("wave", 0.87),), True, 41.0)


def shown(stream: io.StringIO, *events: Event, clock: Any = None) -> str:
    sink = Terminal(stream, clock=clock or iter(range(1000)).__next__)
    for event in events:
        sink.emit(event)
    sink.close()
    return stream.getvalue()


def test_a_terminal_has_a_live_line_that_is_written_over() -> None:
    text = shown(Tty(), START, result(1.0), result(2.0))
    assert text.count("wave") >= 3
    assert "87%" in text and "41.0 ms" in text
    assert text.count("\n") == 1, "only the opening line stays"


def test_the_live_line_is_drawn_ten_times_a_second_at_most() -> None:
    ticks = (n * 0.01 for n in range(1000))
    text = shown(Tty(), *(result(n / 60) for n in range(100)), clock=ticks.__next__)
    assert 5 < text.count("\r") < 40


def test_a_pipe_gets_no_live_line_and_no_control_characters() -> None:
    text = shown(io.StringIO(), START, result(1.0), Segment("wave", 1.0, 2.5, 0.9), SUMMARY)
    assert "\x1b" not in text and "\r" not in text
    assert "87%" not in text
    assert "wave" in text


def test_actions_and_faults_stay_on_the_screen() -> None:
    text = shown(Tty(), Segment("wave", 1.0, 2.5, 0.9), Fault("gap", 4.0, {"seconds": 3}))
    assert "1.0 s to    2.5 s  wave" in text
    assert "! gap  seconds 3" in text


def test_the_table_accounts_for_every_frame_and_every_stage() -> None:
    text = shown(io.StringIO(), SUMMARY)
    assert "captured 100 = processed 50 + dropped 50" in text
    assert "49 rate" in text and "1 unreadable" in text
    assert "sink jsonl: 2 events or pictures left out, 3 failed" in text
    (row,) = [line for line in text.splitlines() if line.startswith("imfe.encoder")]
    assert row.split() == ["imfe.encoder", "20", "1.25", "2.50", "3.00", "4.00", "10.00", "0"]


def test_a_device_that_is_far_too_slow_is_told_what_helps() -> None:
    """Shows when: more frames are lost than seen, or some are and there was no result at all."""
    for processed, results, told in ((45, 8, True), (95, 0, True), (95, 8, False)):
        frames = {"captured": 100, "processed": processed, "dropped": {"overload": 100 - processed}}
        text = shown(io.StringIO(), replace(SUMMARY, frames=frames, results=results))
        assert ("--policy block" in text) is told


def test_several_runs_on_one_terminal_bear_their_names() -> None:
    stream = Tty()
    sink = Terminal(stream, label="front")
    for event in (START, result(1.0), SUMMARY):
        sink.emit(event)
    sink.close()
    lines = [line for line in stream.getvalue().splitlines() if line.strip()]
    assert all(line.startswith("front: ") for line in lines)
    assert "87%" not in stream.getvalue()
