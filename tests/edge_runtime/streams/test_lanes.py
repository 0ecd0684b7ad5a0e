"""Shows that frames encoded side by side come out as if they had been taken one by one."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edge_runtime import ImfeStream
from edge_runtime.streams.lanes import Lanes
from tests.edge_runtime.streams.small_models import SmallImfe


def everything(lanes: Lanes[int, int]) -> list[tuple[int, int]]:
    found = []
    while not lanes.over:
        taken = lanes.take()
        if taken is not None:
            found.append((taken[0], taken[1].result()))
    return found


def test_items_keep_their_order_whichever_lane_is_slow() -> None:
    waiting = list(range(40))[::-1]

    def slow_at_times(item: int) -> int:
        time.sleep(0.003 * (item % 3 == 0))
        return 10 * item

    lanes = Lanes(lambda: waiting.pop() if waiting else None, lambda: not waiting, [slow_at_times] * 3)
    assert everything(lanes) == [(item, 10 * item) for item in range(40)]


def test_lanes_work_at_the_same_time() -> None:
    """Shows it by two looks that each wait until the other has begun."""
    both = threading.Barrier(2, timeout=10)
    waiting = [1, 0]

    def look(item: int) -> int:
        both.wait()
        return item

    lanes = Lanes(lambda: waiting.pop() if waiting else None, lambda: not waiting, [look, look])
    assert everything(lanes) == [(0, 0), (1, 1)]


def test_no_more_are_in_hand_than_there_are_lanes() -> None:
    """Shows that the rest stays where a newer frame may still take its place."""
    waiting = list(range(10))
    lanes = Lanes(lambda: waiting.pop() if waiting else None, lambda: not waiting, [lambda item: item] * 2)
    time.sleep(0.2)
    assert len(waiting) == 8
    lanes.abandon()


def test_a_look_that_fails_fails_its_item_alone() -> None:
    waiting = [2, 1, 0]
    lanes = Lanes(lambda: waiting.pop() if waiting else None, lambda: not waiting, [lambda item: 1 // (item - 1)] * 2)
    found = []
    while not lanes.over:
        taken = lanes.take()
        if taken is not None:
            found.append((taken[0], type(taken[1].exception())))
    assert found == [(0, type(None)), (1, ZeroDivisionError), (2, type(None))]


def test_what_is_in_hand_when_abandoned_is_given_back() -> None:
    """Shows that every item taken from outside was taken from the lanes or is given back, none twice."""
    for _ in range(20):
        source = iter(range(1000))
        outside: list[int] = []

        def take(source=source, outside=outside) -> int:  # type: ignore[no-untyped-def]
            outside.append(next(source))
            return outside[-1]

        lanes = Lanes(take, lambda: False, [lambda item: item] * 3)
        found = [taken[0] for _ in range(5) if (taken := lanes.take()) is not None]
        assert found + lanes.abandon() == outside


@pytest.mark.parametrize("hop", [1, 3, 6])
def test_a_stream_gives_the_same_bits(tmp_path: Path, hop: int) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (40, 32, 48, 3), np.uint8)
    path = SmallImfe.make().save(tmp_path / "imfe.onnx")
    with ImfeStream(path, hop=hop) as one_by_one, ImfeStream(path, hop=hop, lanes=2) as stream:
        waiting = list(frames)[::-1]
        lanes = Lanes(lambda: waiting.pop() if waiting else None, lambda: not waiting, stream.encoders)
        for frame in frames:
            while (taken := lanes.take()) is None:
                pass
            assert taken[0] is frame or np.array_equal(taken[0], frame)
            expected, found = one_by_one.step(frame), stream.follow(taken[1].result())
            assert (expected is None) == (found is None)
            if expected is not None and found is not None:
                np.testing.assert_array_equal(found.features, expected.features)
                np.testing.assert_array_equal(found.regions, expected.regions)


def test_a_frame_may_be_overtaken_by_every_other_lane(tmp_path: Path) -> None:
    """Shows that no frame is written over while it is still to be compared: one lane is stuck on every third."""
    frames = np.random.default_rng(1).integers(0, 256, (32, 32, 48, 3), np.uint8)
    path = SmallImfe.make().save(tmp_path / "imfe.onnx")
    with ImfeStream(path, hop=1) as alone, ImfeStream(path, hop=1, lanes=2) as stream:
        slow, quick = stream.encoders
        fmaps = {1: quick(frames[1])}

        def follow(i: int) -> None:
            expected, found = alone.step(frames[i]), stream.follow(fmaps.pop(i))
            assert (expected is None) == (found is None)
            if expected is not None and found is not None:
                np.testing.assert_array_equal(found.features, expected.features)

        for i in range(0, 27, 3):
            fmaps[i + 2] = quick(frames[i + 2])
            fmaps[i] = slow(frames[i])
            follow(i)
            follow(i + 1)
            fmaps[i + 4] = quick(frames[i + 4])
            follow(i + 2)


def test_frames_may_be_encoded_beforehand_or_not_as_they_come(tmp_path: Path) -> None:
    """Shows that the two ways to take a frame share one past."""
    frames = np.random.default_rng(1).integers(0, 256, (24, 32, 48, 3), np.uint8)
    path = SmallImfe.make().save(tmp_path / "imfe.onnx")
    with ImfeStream(path, hop=1) as one_by_one, ImfeStream(path, hop=1, lanes=2) as stream:
        for i, frame in enumerate(frames):
            expected = one_by_one.step(frame)
            found = stream.step(frame) if i % 5 < 2 else stream.follow(stream.encoders[i % 2](frame))
            if expected is not None and found is not None:
                np.testing.assert_array_equal(found.features, expected.features)
