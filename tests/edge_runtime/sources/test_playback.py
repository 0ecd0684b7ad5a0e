"""Shows that a recording can stand in for a camera: it need not end, and it waits for nobody."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.sources.base import Closing, Frame, SourceInfo, UnreadableFrameError
from edge_runtime.sources.images import ImagesSource
from edge_runtime.sources.open import check_source_options, open_source
from edge_runtime.sources.playback import LiveSource, LoopedSource
from edge_runtime.sources.video import VideoSource
from tests.edge_runtime.sources.clips import write_video
from tests.edge_runtime.sources.test_open import parse


class Recording(Closing):
    """Frames that show at ``times``."""

    def __init__(self, times: list[float]) -> None:
        self.info = SourceInfo("recording", "image", False, 30.0, frames=len(times))
        self._frames = [Frame(np.zeros((2, 2, 3), np.uint8), i, t, 0) for i, t in enumerate(times)]

    def read(self) -> Frame | None:
        return self._frames.pop(0) if self._frames else None


class Clock:
    """Nanoseconds that pass only when told."""

    def __init__(self) -> None:
        self.ns = 1_000_000

    def __call__(self) -> int:
        return self.ns


def frames(source: LoopedSource | LiveSource, count: int) -> list[Frame]:
    found = list(itertools.islice(iter(source.read, None), count))
    assert all(isinstance(frame, Frame) for frame in found)
    return [frame for frame in found if isinstance(frame, Frame)]


def test_numbers_and_times_go_on_and_each_start_is_a_new_past(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 3)
    with LoopedSource(lambda: VideoSource(video)) as source:
        found = frames(source, 8)
    assert [frame.index for frame in found] == list(range(8))
    assert [frame.epoch for frame in found] == [0, 0, 0, 1, 1, 1, 2, 2]
    np.testing.assert_allclose([frame.t for frame in found], np.arange(8) / 30, atol=1e-3)
    assert np.array_equal(found[0].data, found[3].data)


def test_a_looped_recording_does_not_say_how_long_it_is() -> None:
    assert LoopedSource(lambda: Recording([0.0])).info.frames is None


def test_a_folder_without_a_readable_picture_ends(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    source = LoopedSource(lambda: ImagesSource(tmp_path, 30.0))
    with pytest.raises(UnreadableFrameError):
        source.read()
    assert source.read() is None


def test_an_unreadable_picture_keeps_its_place_in_every_round(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "b.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((4, 4, 3), np.uint8))
    source = LoopedSource(lambda: ImagesSource(tmp_path, 30.0))
    indices = []
    while len(indices) < 4:
        try:
            frame = source.read()
        except UnreadableFrameError:
            continue
        assert isinstance(frame, Frame)
        indices.append(frame.index)
    assert indices == [0, 2, 3, 5]


def test_frames_come_when_they_are_due_and_are_stamped_with_that() -> None:
    """Shows it for a reader that is late for the second frame: the moment it was due counts, nothing is put off."""
    clock = Clock()
    source = LiveSource(Recording([5.0, 5.1, 5.2]), clock=clock)
    begun = clock.ns
    stamps = []
    for _ in range(3):
        clock.ns += 200_000_000
        stamps.append(frames(source, 1)[0].captured_ns - begun)
    assert stamps == [200_000_000, 300_000_000, 400_000_000]
    assert source.info.live


def test_a_recording_that_was_held_up_goes_on_from_where_it_is() -> None:
    """Shows it for a process that was stopped for a minute: what comes after it is as fresh as before."""
    clock = Clock()
    source = LiveSource(Recording([0.0, 0.1, 0.2]), clock=clock)
    source.read()
    clock.ns += 60_000_000_000
    resumed = clock.ns
    assert frames(source, 1)[0].captured_ns == resumed
    clock.ns += 150_000_000
    assert frames(source, 1)[0].captured_ns == resumed + 100_000_000


def test_a_frame_that_is_not_due_is_waited_for_until_interrupted() -> None:
    source = LiveSource(Recording([0.0, 3600.0]))
    assert source.read() is not None
    found: list[object] = []
    reader = threading.Thread(target=lambda: found.append(source.read()))
    reader.start()
    source.interrupt()
    reader.join(10)
    assert found == [None]


def test_the_options_make_of_a_recording_what_they_say(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.mp4", 2)
    for options, kind, live in (
        (["--loop"], LoopedSource, False),
        (["--live"], LiveSource, True),
        (["--loop", "--live"], LiveSource, True),
    ):
        for recording in (["--video", str(video)], ["--demo"]):
            with open_source(parse(*recording, *options), 30.0) as source:
                assert isinstance(source, kind)
                assert source.info.live is live


@pytest.mark.parametrize("option", ["--loop", "--live"])
@pytest.mark.parametrize("source", [["--camera", "0"], ["--video", "-"], ["--skeleton", "a.npy"]])
def test_they_are_for_recorded_pictures(option: str, source: list[str]) -> None:
    with pytest.raises(
        InputError, match=f"{option} does nothing with this source|--loop and --live are for a recording"
    ):
        check_source_options(parse(*source, option))
