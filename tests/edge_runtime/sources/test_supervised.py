"""Shows that a supervised source outlives every way of being lost, and counts, times and marks its frames on."""

from __future__ import annotations

import logging
import threading
import time
from itertools import pairwise

import numpy as np
import pytest

from edge_runtime.errors import InputError, SourceLostError
from edge_runtime.events import Fault
from edge_runtime.sources.base import Closing, Frame, SourceInfo, SourceRefusedError, UnreadableFrameError
from edge_runtime.sources.supervised import MOST_LEFT_BEHIND, SupervisedSource
from edge_runtime.sources.supervision import Patience

QUICK = Patience(silent_s=0.15, opening_s=0.3, frozen_s=0.2, black_s=9, first_wait_s=0.002, longest_wait_s=0.01)
LOST = SourceLostError("the cable")


class Camera:
    """Connections that go as scripted: each a list of frames (a number: that many), exceptions, or calls."""

    def __init__(self, *connections):
        self.script, self.opened, self.closed = list(connections), 0, 0

    def __call__(self):
        connection = self.script[min(self.opened, len(self.script) - 1)]
        self.opened += 1
        if isinstance(connection, Exception):
            raise connection
        return Connection(self, connection)


class Connection(Closing):
    rng = np.random.default_rng(0)

    def __init__(self, camera, items):
        self.info = SourceInfo("camera", "image", True, 30.0, 64, 48)
        self.camera = camera
        self.items = iter([step for item in items for step in ([frame] * item if isinstance(item, int) else [item])])

    def read(self):
        item = next(self.items)
        if callable(item):
            item = item()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self):
        self.camera.closed += 1


def frame(size=(64, 48)):
    image = Connection.rng.integers(60, 200, (size[1], size[0], 3), np.uint8)
    return Frame(image, 0, 0.0, time.monotonic_ns())


def read(source, frames):
    """Read until so many frames came; the frames, and the kinds of faults."""
    got, faults = [], []
    while len(got) < frames:
        item = source.read()
        (faults if isinstance(item, Fault) else got).append(item)
    return got, faults


def kinds(faults):
    return [fault.kind for fault in faults]


def test_frames_of_a_healthy_source_pass_through():
    with SupervisedSource(Camera([5, LOST]), QUICK) as source:
        frames, faults = read(source, 5)
        assert source.info.name == "camera"
    assert [f.index for f in frames] == [0, 1, 2, 3, 4]
    assert frames[0].t == 0
    assert {f.epoch for f in frames} == {0}
    assert faults == []


def test_a_lost_source_comes_back_numbered_and_timed_on_with_a_new_epoch(caplog):
    with caplog.at_level(logging.WARNING), SupervisedSource(Camera([3, LOST], [4, LOST]), QUICK) as source:
        frames, faults = read(source, 7)
    assert [f.index for f in frames] == list(range(7))
    assert [f.epoch for f in frames] == [0] * 3 + [1] * 4
    assert all(a.t <= b.t for a, b in pairwise(frames))
    assert kinds(faults) == ["source-lost", "source-returned"]
    assert faults[0].detail == {"reason": "lost", "message": "the cable"}
    assert faults[1].detail["attempts"] == 1
    assert faults[1].detail["outage_s"] > 0
    assert caplog.records[0].getMessage() == "the cable; reconnecting"
    assert len(caplog.records) == 2  # one on loss, one on return


def test_a_loss_is_told_while_it_lasts():
    """Shows that the fault is handed out before the first attempt to reconnect: an outage may last for days."""
    camera = Camera([1, LOST], [1, LOST])
    with SupervisedSource(camera, QUICK) as source:
        assert isinstance(source.read(), Frame)
        assert kinds([source.read()]) == ["source-lost"]
        assert camera.opened == 1
        assert kinds([source.read()]) == ["source-returned"]


def test_an_outage_of_many_attempts_is_still_two_lines(caplog):
    camera = Camera([1, LOST], *[InputError("no such device")] * 5, *[LOST] * 5, [2, LOST])
    with caplog.at_level(logging.WARNING), SupervisedSource(camera, QUICK) as source:
        _, faults = read(source, 3)
    assert faults[-1].detail["attempts"] == 11
    assert len(caplog.records) == 2


def test_a_read_that_never_returns_is_left_behind_and_closes_when_it_wakes():
    wake = threading.Event()
    camera = Camera([2, lambda: wake.wait(20) and frame()], [2, lambda: wake.wait(20) and LOST])
    with SupervisedSource(camera, QUICK) as source:
        frames, faults = read(source, 4)
        assert [f.epoch for f in frames] == [0, 0, 1, 1]
        assert faults[0].detail["reason"] == "silent"
        assert source.stuck
        wake.set()
        deadline = time.monotonic() + 5
        while source.stuck and time.monotonic() < deadline:
            time.sleep(0.01)
    assert camera.closed == 2
    assert not source.stuck


def test_too_many_stuck_reads_end_the_source():
    wake = threading.Event()
    source = SupervisedSource(Camera([1, wake.wait]), Patience(silent_s=0.02, first_wait_s=0.001, longest_wait_s=0.001))
    with pytest.raises(SourceLostError, match="never returned"):
        read(source, MOST_LEFT_BEHIND + 5)
    wake.set()


def test_an_opening_that_never_returns_is_given_up():
    wake = threading.Event()

    def connect():
        wake.wait(20)
        raise LOST

    with pytest.raises(SourceLostError, match=r"more than 0\.3 s"):
        SupervisedSource(connect, QUICK)
    wake.set()


def test_a_frozen_picture_is_a_lost_source():
    still = frame()

    def again():
        time.sleep(0.02)
        return Frame(still.data, 0, 0.0, time.monotonic_ns())

    with SupervisedSource(Camera([1, *[again] * 50], [2, LOST]), QUICK) as source:
        faults = []
        while (item := source.read()) is not None and not (isinstance(item, Frame) and item.epoch):
            faults += [item] if isinstance(item, Fault) else []
    assert kinds(faults) == ["frozen", "source-lost", "source-returned"]
    assert faults[1].detail["reason"] == "frozen"


def test_a_change_of_size_is_a_new_epoch_within_a_connection_and_across_two():
    with SupervisedSource(Camera([2, lambda: frame((32, 24)), LOST], [1, LOST]), QUICK) as source:
        frames, faults = read(source, 4)
        while source._faults:
            faults.append(source.read())
    assert [f.epoch for f in frames] == [0, 0, 1, 3]
    changes = [fault.detail for fault in faults if fault.kind == "size-change"]
    assert changes == [{"before": [64, 48], "after": [32, 24]}, {"before": [32, 24], "after": [64, 48]}]


def test_one_bad_frame_is_no_loss():
    with SupervisedSource(Camera([1, UnreadableFrameError("torn"), 1, LOST]), QUICK) as source:
        source.read()
        with pytest.raises(UnreadableFrameError):
            source.read()
        assert source.read().epoch == 0


def test_what_cannot_be_opened_is_refused_at_once():
    for error in (InputError("no such camera"), SourceLostError("no answer")):
        camera = Camera(error)
        with pytest.raises(type(error), match=str(error)):
            SupervisedSource(camera, QUICK)
        assert camera.opened == 1


def test_given_time_a_source_that_does_not_answer_yet_is_waited_for():
    camera = Camera(LOST, LOST, LOST, [1, LOST])
    patient = Patience(first_wait_s=0.002, longest_wait_s=0.002, give_up_after_s=20)
    with SupervisedSource(camera, patient) as source:
        assert source.read().index == 0
    assert camera.opened == 4
    with pytest.raises(InputError):
        SupervisedSource(Camera(InputError("bad URL")), patient)


def test_after_the_stated_time_the_source_is_lost_for_good():
    patience = Patience(first_wait_s=0.002, longest_wait_s=0.002, give_up_after_s=0.1)
    with (
        SupervisedSource(Camera([1, LOST], LOST), patience) as source,
        pytest.raises(SourceLostError, match="given up"),
    ):
        read(source, 2)


def test_refused_credentials_end_the_source_at_once():
    camera = Camera([1, LOST], SourceRefusedError("401"))
    with SupervisedSource(camera, QUICK) as source, pytest.raises(SourceLostError, match="401"):
        read(source, 2)
    assert camera.opened == 2


@pytest.mark.parametrize("when", ["reading", "waiting to reconnect", "opening"])
def test_an_interrupt_ends_a_waiting_read(when):
    wake = threading.Event()
    connections = {
        "reading": ([1, lambda: wake.wait(20)],),
        "waiting to reconnect": ([1, LOST], LOST),
        "opening": ([1, LOST], [lambda: wake.wait(20)]),
    }[when]
    patience = Patience(silent_s=30, opening_s=30, first_wait_s=30 if "waiting" in when else 0.001)
    source = SupervisedSource(Camera(*connections), patience)
    read(source, 1)
    threading.Timer(0.1, source.interrupt).start()
    begun = time.monotonic()
    items = []
    while (item := source.read()) is not None:
        items.append(item)
    assert time.monotonic() - begun < 5  # of thirty
    assert all(isinstance(item, Fault) for item in items)
    wake.set()


def test_secrets_in_a_message_are_masked(caplog):
    lost = SourceLostError("rtsp://me:hunter2@camera/live: connection reset")
    with caplog.at_level(logging.WARNING), SupervisedSource(Camera([1, lost], [1, lost]), QUICK) as source:
        _, faults = read(source, 2)
    assert "hunter2" not in caplog.text + str(faults)
