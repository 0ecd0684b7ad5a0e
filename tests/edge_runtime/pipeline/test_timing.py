"""The stopwatch: what a stage's time is, what the watchers are told, and that neither memory nor a pass is lost."""

from __future__ import annotations

import itertools
import threading
import tracemalloc
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.pipeline import timing
from edge_runtime.pipeline.budgets import WHOLE, Budgets
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.timing import Passes, StageTimes

Pass = tuple[str, int, int, int]
"""Stage, start, end, frame."""


class Heard:
    """A watcher that keeps what it is told."""

    def __init__(self, times: StageTimes) -> None:
        self.passes: list[Pass] = []
        times.watch(self._hear)

    def _hear(self, found: Mapping[str, Passes]) -> None:
        for stage, its in found.items():
            spans = zip(its.starts.tolist(), its.ends.tolist(), its.frames.tolist(), strict=True)
            self.passes += [(stage, *span) for span in spans]


class FakeClock:
    now = 0

    def __call__(self) -> int:
        return self.now


def test_a_stage_begins_where_the_one_before_ended() -> None:
    """Shows that one reading of the clock ends a stage and begins the next, from the frame's capture on."""
    clock = FakeClock()
    times = StageTimes(clock)
    heard = Heard(times)
    for clock.now, frame in ((100, 4), (200, 5)):
        times.take(frame, clock.now - 30)
        for stage in ("preprocess", "imfe.encoder"):
            clock.now += 10
            times.lap(stage)
        times.whole(WHOLE, clock.now - 50, clock.now)
    times.tell("sinks", 120, 125, 4)
    times.deliver()
    assert sorted(heard.passes) == [
        ("capture", 70, 100, 4),
        ("capture", 170, 200, 5),
        (WHOLE, 70, 120, 4),
        (WHOLE, 170, 220, 5),
        ("imfe.encoder", 110, 120, 4),
        ("imfe.encoder", 210, 220, 5),
        ("preprocess", 100, 110, 4),
        ("preprocess", 200, 210, 5),
        ("sinks", 120, 125, 4),
    ]


def test_what_lies_between_two_frames_belongs_to_no_stage() -> None:
    """Shows that the opinions a network still owes are timed from when they are asked for."""
    clock = FakeClock()
    times = StageTimes(clock)
    heard = Heard(times)
    times.take(7, 0)
    clock.now = 5_000
    times.resume()
    clock.now = 5_003
    times.lap("rtstgcn")
    times.deliver()
    assert ("rtstgcn", 5_000, 5_003, 7) in heard.passes


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=60))
def test_passes_do_not_depend_on_when_they_are_asked_for(frames: list[tuple[int, bool]]) -> None:
    """Shows that a line that is read half way goes on in the next reading, with its start and its frame."""
    often, once = FakeClock(), FakeClock()
    heard = []
    for clock, impatient in ((often, True), (once, False)):
        times = StageTimes(clock)
        heard.append(Heard(times))
        for frame, (laps, ask) in enumerate(frames):
            clock.now += 1
            times.take(frame, clock.now - 1)
            for lap in range(laps):
                clock.now += 10 + lap
                times.lap("imfe.encoder" if lap % 2 else "imfe.motion")
                if impatient and ask:
                    times.deliver()
        times.deliver()
    assert sorted(heard[0].passes) == sorted(heard[1].passes)
    assert len(heard[0].passes) == sum(1 + laps for laps, _ in frames)


def test_the_tape_has_itself_read_before_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that where nobody asks for minutes no pass is lost, on either tape, however often the ring turns."""
    monkeypatch.setattr(timing, "_MOMENTS", 64)
    monkeypatch.setattr(timing, "_BATCH", 32)
    times = StageTimes(itertools.count().__next__)
    heard = Heard(times)
    for frame in range(1000):
        times.take(frame, 0)
        times.lap("imfe.encoder")
        times.tell("sinks", frame, frame + 1, frame)
    times.deliver()
    for stage in ("capture", "imfe.encoder", "sinks"):
        assert [frame for name, _, _, frame in heard.passes if name == stage] == list(range(1000))


def test_stages_that_run_before_anybody_measures_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that a warm-up, whose frames are no run's, may be of any length and is told to nobody."""
    monkeypatch.setattr(timing, "_MOMENTS", 64)
    monkeypatch.setattr(timing, "_BATCH", 32)
    times = StageTimes(itertools.count().__next__)
    for _ in range(1000):
        times.lap("imfe.encoder")
    heard = Heard(times)
    times.take(5, 0)
    times.deliver()
    assert [(stage, frame) for stage, _, _, frame in heard.passes] == [("capture", 5)]


def test_a_watcher_of_a_run_that_has_ended_hears_nothing_of_the_next() -> None:
    times = StageTimes()
    first = Heard(times)
    times.tell("sinks", 0, 1, 0)
    times.forget_watchers()
    second = Heard(times)
    times.tell("sinks", 0, 1, 1)
    times.deliver()
    assert (first.passes, second.passes) == ([("sinks", 0, 1, 0)], [("sinks", 0, 1, 1)])


def test_many_threads_and_a_reader_beside_them_lose_nothing() -> None:
    """Shows that the networks' thread and three others, 5,000 frames each, are counted to the last one."""
    times = StageTimes()
    monitor = StageMonitor(Budgets.derive(30, 6), times)

    def network() -> None:
        for frame in range(5000):
            times.take(frame, 0)

    def beside(stage: str) -> None:
        for frame in range(5000):
            times.tell(stage, 0, 1000 * frame, frame)

    threads = [threading.Thread(target=network)]
    threads += [threading.Thread(target=beside, args=(stage,)) for stage in ("sinks", "rtstgcn", WHOLE)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        monitor.live()
    assert {stage: figures["n"] for stage, figures in monitor.summary().items()} == dict.fromkeys(
        ("capture", "sinks", "rtstgcn", WHOLE), 5000
    )


def test_recording_allocates_nothing_per_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that after the ring has turned once, 5,000 frames leave memory where it was, between readings too."""
    monkeypatch.setattr(timing, "_MOMENTS", 256)
    monkeypatch.setattr(timing, "_BATCH", 128)
    times = StageTimes()
    monitor = StageMonitor(Budgets.derive(30, 6), times)

    def run(frames: int) -> None:
        for frame in range(1_000_000, 1_000_000 + frames):  # small numbers are not allocated
            times.take(frame, 0)
            for stage in ("preprocess", "imfe.encoder", "imfe.motion"):
                times.lap(stage)

    run(1000)
    monitor.live()
    tracemalloc.start()
    try:
        run(300)  # the numbers in the ring are now ones that tracemalloc knows
        monitor.live()
        before = tracemalloc.get_traced_memory()[0]
        run(5000)
        monitor.live()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 4096
