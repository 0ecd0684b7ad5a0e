"""Frames from memory at a camera's pace: open-loop, bounded, repeated."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.bench import replay
from edge_runtime.bench.replay import PacedSource, Recording, random_skeleton
from edge_runtime.errors import InputError
from edge_runtime.models.metadata import Graph, RtStgcnMetadata
from edge_runtime.sources.base import SourceInfo
from tests.edge_runtime.pipeline.fakes import UNREADABLE, FakeSource, frame

MS = 1_000_000
INFO = SourceInfo("three frames", "image", live=False, fps=10.0)
THREE = Recording([np.full((2, 2, 3), value, np.uint8) for value in (1, 2, 3)], INFO, fps=10.0)


class Clock:
    """Moves when somebody sleeps, or when a test says so."""

    def __init__(self) -> None:
        self.now = 5 * 10**9

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


def test_frames_come_when_they_are_due_and_repeat() -> None:
    clock = Clock()
    source = PacedSource(THREE, 5, clock=clock, sleep=clock.sleep)
    begun = clock.now
    frames = []
    while (one := source.read()) is not None:
        frames.append((one.index, one.t, (one.captured_ns - begun) / MS, int(one.data[0, 0, 0])))
    assert frames == [(0, 0.0, 0, 1), (1, 0.1, 100, 2), (2, 0.2, 200, 3), (3, 0.3, 300, 1), (4, 0.4, 400, 2)]


def test_a_frame_nobody_was_ready_for_is_stamped_when_it_was_due() -> None:
    """Shows that arrivals are open-loop: a reader 350 ms late gets its frames at once, with the wait in their age."""
    clock = Clock()
    source = PacedSource(THREE, 5, clock=clock, sleep=clock.sleep)
    source.read()
    clock.now += 350 * MS
    ages = []
    for _ in range(4):
        one = source.read()
        assert one is not None
        ages.append((clock.now - one.captured_ns) / MS)
    assert ages == [250, 150, 50, 0]


def test_the_source_is_live_so_that_no_policy_may_hold_it_back() -> None:
    info = PacedSource(THREE, 5).info
    assert info.live
    assert info.name == "three frames, repeated from memory at 10 FPS"


def test_a_recording_holds_what_memory_allows_and_skips_what_does_not_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_BYTES", 5 * frame(0).data.nbytes)
    source = FakeSource([frame(0), UNREADABLE, *(frame(i) for i in range(1, 20))])
    recording = Recording.of(source, default_fps=25.0)
    assert len(recording.frames) == 5
    assert recording.fps == 30.0  # the source's own
    assert source.closed == 1


def test_a_source_without_a_readable_frame_is_refused() -> None:
    with pytest.raises(InputError, match="fake: no frame of it can be read"):
        Recording.of(FakeSource([UNREADABLE]), default_fps=25.0)


def test_a_skeleton_model_has_random_joints_of_its_shape() -> None:
    metadata = RtStgcnMetadata("rtstgcn", 3, Graph(4, ((0, 1),), 0), ("a",), (), fps=20.0)
    recording = random_skeleton(metadata, seconds=2)
    assert (len(recording.frames), recording.frames[0].shape, recording.fps) == (40, (3, 4), 20.0)
