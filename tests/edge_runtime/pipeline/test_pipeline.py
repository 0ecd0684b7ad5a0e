"""A run: every frame accounted for, every event once, and an end whatever happens."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_runtime.errors import InputError, SourceLostError
from edge_runtime.events import Event
from edge_runtime.pipeline.accounting import AccountingError
from edge_runtime.pipeline.clock import StopFlag
from edge_runtime.pipeline.head import Opinion
from edge_runtime.pipeline.pipeline import RunLimits
from edge_runtime.sources.base import Frame
from tests.edge_runtime.pipeline.fakes import (
    UNREADABLE,
    FakeRecogniser,
    FakeSource,
    Keep,
    KeepPictures,
    frame,
    frames,
    pipeline,
    slowly,
)


def add_up(counts: dict[str, Any]) -> bool:
    return bool(counts["captured"] == counts["processed"] + sum(counts["dropped"].values()))


def test_a_file_is_processed_frame_by_frame_in_order() -> None:
    sink, recogniser, source = Keep(), FakeRecogniser(), FakeSource(frames(40))
    pipeline(source, [sink], recogniser).run()
    assert recogniser.seen == list(range(40))
    assert [r.frame for r in sink.results] == list(range(40))
    assert sink.summary.frames == {"captured": 40, "processed": 40, "dropped": {}}
    assert sink.summary.ended_by == "end-of-stream"
    assert (sink.summary.results, source.closed) == (40, 1)


def test_frames_beyond_the_models_rate_are_dropped_and_say_why() -> None:
    sink = Keep()
    items = [frame(i, i / 60) for i in range(120)]
    pipeline(FakeSource(items, fps=60.0), [sink]).run()
    assert sink.summary.frames == {"captured": 120, "processed": 60, "dropped": {"rate": 60}}


def test_an_unreadable_frame_is_a_counted_drop_and_the_run_goes_on() -> None:
    sink = Keep()
    pipeline(FakeSource([*frames(5), UNREADABLE, frame(6)]), [sink]).run()
    assert sink.summary.frames == {"captured": 7, "processed": 6, "dropped": {"unreadable": 1}}


def test_a_live_source_that_is_too_fast_gives_the_newest_frame() -> None:
    """Shows that the frame processed after a slow step is the last one delivered meanwhile."""
    busy, delivered = threading.Event(), threading.Event()

    def deliver() -> Any:
        yield frame(0)
        busy.wait(5)
        for index in range(1, 10):
            yield frame(index)
        delivered.set()

    def slow(current: Frame) -> None:
        if current.index == 0:
            busy.set()
            assert delivered.wait(5)

    sink, recogniser = Keep(), FakeRecogniser(on_step=slow)
    pipeline(FakeSource(deliver(), live=True), [sink], recogniser).run()
    assert recogniser.seen == [0, 9]
    assert sink.summary.frames == {"captured": 10, "processed": 2, "dropped": {"overload": 8}}


def test_a_gap_ends_the_segment_forgets_the_past_and_is_told() -> None:
    sink, recogniser = Keep(), FakeRecogniser()
    items = [frame(i) for i in range(30)] + [frame(30 + i, 10 + i / 30) for i in range(30)]
    pipeline(FakeSource(items), [sink], recogniser).run()
    assert recogniser.resets == 1
    (gap,) = sink.faults
    assert (gap.kind, gap.t) == ("gap", 10.0)
    assert [(round(s.start, 1), round(s.end, 1)) for s in sink.segments] == [(0.0, 1.0), (10.0, 11.0)]


def test_a_recording_that_begins_again_is_another_past_and_no_gap() -> None:
    sink, recogniser = Keep(), FakeRecogniser()
    items = [replace(frame(i), epoch=i // 3) for i in range(9)]
    pipeline(FakeSource(items), [sink], recogniser).run()
    assert recogniser.resets == 2
    assert sink.faults == []


def test_a_delayed_network_says_what_it_owes_at_the_end() -> None:
    owed = [Opinion(9, 0.3, np.array([0.9, 0.1], np.float32))]
    sink = Keep()
    pipeline(FakeSource(frames(3)), [sink], FakeRecogniser(owed=owed)).run()
    assert [r.frame for r in sink.results] == [0, 1, 2, 9]
    assert sink.results[-1].capture_to_result_ms > 0, "counted from the last frame it needed"


def test_a_network_that_fails_at_the_end_leaves_a_summary_all_the_same() -> None:
    class Fails(FakeRecogniser):
        def flush(self) -> list[Opinion]:
            raise InputError("the model computes NaN")

    sink = Keep()
    with pytest.raises(InputError, match="NaN"):
        pipeline(FakeSource(frames(3)), [sink], Fails()).run()
    assert sink.summary.ended_by == "error"
    assert sink.summary.frames["processed"] == 3


@pytest.mark.parametrize(
    ("limits", "reason"), [(RunLimits(max_frames=7), "max-frames"), (RunLimits(duration_s=0.23), "duration")]
)
def test_a_run_ends_where_it_was_told_to(limits: RunLimits, reason: str) -> None:
    sink = Keep()
    pipeline(FakeSource(frames(40)), [sink], limits=limits).run()
    assert sink.summary.frames["captured"] == 7
    assert sink.summary.ended_by == reason


def test_a_live_run_ends_after_its_duration_even_when_no_frame_comes() -> None:
    silent = threading.Event()
    sink = Keep()
    run = pipeline(FakeSource([lambda: silent.wait(30)], live=True), [sink], limits=RunLimits(duration_s=0.1))
    run.run()
    assert sink.summary.ended_by == "duration"
    assert run.hanging, "the capture thread still sits in its read"
    silent.set()


def test_a_stop_ends_the_run_with_the_open_segment_although_the_source_blocks() -> None:
    stop, silent = StopFlag(), threading.Event()
    sink = Keep()
    source = FakeSource([*frames(30), lambda: stop.request("signal") or silent.wait(30)], live=False)
    run = pipeline(source, [sink], stop=stop)
    run.run()
    assert run.hanging, "it did not wait for the read"
    silent.set()
    assert sink.summary.ended_by == "signal"
    assert add_up(sink.summary.frames)
    assert len(sink.segments) == 1 or sink.summary.frames["processed"] < 15


def test_every_event_is_emitted_once_and_the_summary_last() -> None:
    sink = Keep()
    pipeline(FakeSource(frames(60)), [sink]).run()
    kinds = [event.event for event in sink.events]
    assert kinds.count("start") == kinds.count("summary") == 1
    assert (kinds[0], kinds[-1]) == ("start", "summary")
    assert len({r.frame for r in sink.results}) == len(sink.results)


def test_a_lost_source_is_told_and_raised_after_the_summary() -> None:
    sink = Keep()
    run = pipeline(FakeSource([*frames(20), SourceLostError("camera: unplugged")], live=True), [sink], policy="block")
    with pytest.raises(SourceLostError, match="unplugged"):
        run.run()
    assert sink.summary.ended_by == "source-lost"
    assert [fault.kind for fault in sink.faults] == ["source-lost"]


def test_content_that_the_network_refuses_ends_the_run_with_its_summary() -> None:
    def refuse(current: Frame) -> None:
        if current.index == 3:
            raise InputError("two channels, expected three")

    sink = Keep()
    with pytest.raises(InputError, match="two channels"):
        pipeline(FakeSource(frames(20)), [sink], FakeRecogniser(on_step=refuse)).run()
    assert sink.summary.ended_by == "error"
    assert sink.summary.frames["dropped"]["failed"] == 1
    assert add_up(sink.summary.frames)


def test_a_frame_that_was_lost_count_of_fails_the_run_after_its_summary() -> None:
    """Shows that a run whose frames do not add up says so, closes its sinks and does not pass for a good one."""
    sink = Keep()
    run = pipeline(FakeSource(frames(20)), [sink])
    run.account.captured()
    with pytest.raises(AccountingError, match="captured != processed"):
        run.run()
    assert sink.summary.ended_by == "error"
    assert sink.summary.frames == {"captured": 21, "processed": 20, "dropped": {}}
    assert sink.closed.is_set()


def test_a_bug_in_a_source_ends_the_run_and_is_not_hidden() -> None:
    sink = Keep()
    with pytest.raises(ZeroDivisionError):
        pipeline(FakeSource([*frames(3), lambda: 1 / 0]), [sink]).run()
    assert sink.summary.ended_by == "error"


def test_pictures_come_before_the_results_that_speak_of_them() -> None:
    sink = KeepPictures()
    pipeline(FakeSource(frames(20)), [sink]).run()
    for result in sink.results:
        assert sink.order.index(result.frame) < sink.order.index(result)


def test_a_source_slower_than_the_model_is_told_once() -> None:
    sink = Keep()
    items = [frame(i, i / 10) for i in range(60)]
    pipeline(FakeSource(items, fps=10.0), [sink]).run()
    assert [fault.kind for fault in sink.faults] == ["slow-source"]


def test_degrade_lengthens_the_hop_skips_between_clips_and_tells() -> None:
    """Shows the wiring: late results make the policy move, the recogniser follows, and each move is an event."""
    sink = Keep()
    recogniser = FakeRecogniser(hop=2, clip_length=2, on_step=lambda _: time.sleep(0.002))
    run = pipeline(FakeSource(slowly(60, 0.005)), [sink], recogniser, policy="degrade", deadline_ms=1.0)
    run.run()
    assert [fault.kind for fault in sink.faults][:2] == ["degraded", "degraded"]
    assert recogniser.hop == 8
    assert recogniser.skips == sink.summary.frames["dropped"]["skipped"] > 0
    assert add_up(sink.summary.frames)


def test_degrade_falls_back_to_the_smaller_model() -> None:
    sink = Keep()
    main = FakeRecogniser(on_step=lambda _: time.sleep(0.002))
    fallback = FakeRecogniser()
    run = pipeline(FakeSource(slowly(20, 0.005)), [sink], main, fallback=fallback, policy="degrade", deadline_ms=1.0)
    run.run()
    assert fallback.seen and fallback.resets == 1
    assert main.seen[-1] < fallback.seen[0]


def test_a_sink_that_fails_does_not_end_the_run() -> None:
    def fail(_: Event) -> None:
        raise OSError(28, "No space left on device")

    well = Keep()
    pipeline(FakeSource(frames(10)), [Keep("disk", fail), well]).run()
    assert well.summary.results == 10
