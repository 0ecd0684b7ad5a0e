"""A sink that is slow, broken or stuck harms neither the run nor the other sinks."""

from __future__ import annotations

import logging
import threading

import pytest

from edge_runtime.events import Event, Fault
from edge_runtime.pipeline.clock import StopFlag, system_clock
from edge_runtime.pipeline.fanout import MAX_EVENTS, MAX_PICTURES, Fanout
from edge_runtime.sinks.base import Sink
from tests.edge_runtime.pipeline.fakes import Keep, KeepPictures, frame


def fanout(*sinks: Sink, lossless: bool = False, stop: StopFlag | None = None) -> Fanout:
    return Fanout(sinks, lossless=lossless, clock=system_clock, stop=stop or StopFlag(), delivered=lambda *_: None)


def numbered(n: int) -> list[Event]:
    return [Fault("test", float(i)) for i in range(n)]


def test_every_sink_gets_every_event_in_order() -> None:
    sinks = [Keep("a"), Keep("b")]
    out = fanout(*sinks)
    events = numbered(50)
    for event in events:
        out.emit(event)
    assert out.close(10, 10) == []
    assert [sink.events for sink in sinks] == [events, events]
    assert all(sink.closed.is_set() for sink in sinks)


def test_a_picture_comes_before_the_events_that_speak_of_it() -> None:
    sink = KeepPictures()
    out = fanout(sink, lossless=True)
    (event,) = numbered(1)
    for index in range(3):
        out.show(frame(index))
        out.emit(event)
    out.close(10, 10)
    assert sink.order == [0, event, 1, event, 2, event]


def test_a_stuck_sink_loses_its_own_oldest_events_and_stalls_nobody() -> None:
    release, entered = threading.Event(), threading.Event()

    def stuck(_: Event) -> None:
        entered.set()
        release.wait(10)

    sick, well = Keep("sick", stuck), Keep("well")
    out = fanout(sick, well)
    events = numbered(MAX_EVENTS + 11)
    out.emit(events[0])
    assert entered.wait(5)
    for event in events[1:]:
        out.emit(event)
    assert out.tallies()["sick"]["lost"] == 10
    release.set()
    out.close(10, 10)
    assert well.events[-1] == events[-1]
    assert sick.events == [events[0], *events[11:]]


def test_a_picture_that_is_not_wanted_is_not_handed_over() -> None:
    """Shows that a sink that nobody looks at costs no thread switch a frame, and loses nothing by it."""
    sink = KeepPictures()
    out = fanout(sink)
    for index in range(6):
        sink.wants_picture = index % 2 == 0
        out.show(frame(index))
    out.close(10, 10)
    assert sink.order == [0, 2, 4]
    assert out.tallies()["pictures"]["lost"] == 0


def test_live_pictures_give_way_to_newer_ones() -> None:
    release, entered = threading.Event(), threading.Event()

    class Slow(KeepPictures):
        def show(self, *args: object) -> None:
            entered.set()
            release.wait(10)
            super().show(*args)  # type: ignore[arg-type]

    sink = Slow()
    out = fanout(sink)
    out.show(frame(0))
    assert entered.wait(5)
    for index in range(1, 11):
        out.show(frame(index))
    release.set()
    out.close(10, 10)
    assert sink.order == [0, *range(11 - MAX_PICTURES, 11)]
    assert out.tallies()["pictures"]["lost"] == 10 - MAX_PICTURES


def test_a_sink_that_never_returns_does_not_hold_up_the_end() -> None:
    forever = threading.Event()
    sick, well = Keep("sick", lambda _: bool(forever.wait(30)) and None), Keep("well")
    out = fanout(sick, well)
    for event in numbered(3):
        out.emit(event)
    assert out.close(0.2, 10) == ["sick"]
    assert well.closed.is_set()
    assert out.tallies()["sick"]["lost"] == 2
    forever.set()


def test_a_stop_that_comes_while_sinks_are_closed_is_heard() -> None:
    """Shows that Ctrl-C ends a run that is over but whose disk is slow."""
    forever, stop = threading.Event(), StopFlag()
    out = fanout(Keep("sick", lambda _: bool(forever.wait(20)) and None), Keep("well"), stop=stop)
    out.emit(numbered(1)[0])
    threading.Timer(0.1, stop.request, ("signal",)).start()
    assert out.close(60, 0.1) == ["sick"]
    forever.set()


def test_failures_are_counted_said_once_and_recovered_from(caplog: pytest.LogCaptureFixture) -> None:
    third, seen = threading.Event(), []

    def fail(event: Event) -> None:
        seen.append(event)
        if len(seen) == 3:
            third.set()
        if event != Fault("room"):
            raise OSError(28, "No space left on device")

    sink = Keep("disk", fail)
    out = fanout(sink)
    with caplog.at_level(logging.WARNING):
        for event in numbered(3):
            out.emit(event)
        assert third.wait(60)
        out.emit(Fault("room"))
        out.close(60, 60)
    assert out.tallies()["disk"] == {"emitted": 1, "shown": 0, "lost": 0, "failed": 3}
    assert caplog.text.count("No space left on device") == 1


def test_pictures_that_fail_are_said_once_while_events_pass(caplog: pytest.LogCaptureFixture) -> None:
    """Shows a recording on a full disk: events between its pictures do not make each failure news."""

    class Full(KeepPictures):
        def show(self, *_: object) -> None:
            raise OSError(28, "No space left on device")

    out = fanout(Full())
    for event in numbered(3):
        out.show(frame(0))
        out.emit(event)
    out.close(60, 60)
    assert out.tallies()["pictures"] == {"emitted": 3, "shown": 0, "lost": 0, "failed": 3}
    assert caplog.text.count("No space left on device") == 1


def test_a_reader_that_goes_away_ends_the_run() -> None:
    def gone(_: Event) -> None:
        raise BrokenPipeError

    stop = StopFlag()
    out = fanout(Keep("pipe", gone), stop=stop)
    out.emit(numbered(1)[0])
    out.close(10, 10)
    assert stop.reason == "output-closed"
