"""The recording: playable, at the source's speed, whatever the pictures' sizes and times."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_runtime.errors import InputError
from edge_runtime.events import Result, Start
from edge_runtime.sinks.fragments import FragmentedVideo, open_video
from edge_runtime.sinks.record import MAX_SIDE, MIN_SIDE, Recorder
from edge_runtime.sources.base import Frame, SourceInfo

Image = npt.NDArray[np.uint8]


def info(fps: float | None = 10.0) -> SourceInfo:
    return SourceInfo("test", "image", False, fps)


def grey(height: int, width: int, level: int = 128) -> Image:
    return np.full((height, width, 3), level, np.uint8)


def record(path: Path, shown: list[tuple[float, Image]], fps: float | None = 10.0) -> list[Image]:
    """Record pictures at their times; the frames of the file."""
    sink = Recorder(path, info(fps))
    for index, (t, image) in enumerate(shown):
        sink.show(Frame(image, index, t, 0), image)
    sink.close()
    return read(path)


def read(path: Path) -> list[Image]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        more, image = capture.read()
        if not more:
            return frames
        frames.append(image)


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 3000), (37, 53), (240, 320), (1920, 1080), (4320, 7680)], ids=lambda s: f"{s[1]}x{s[0]}"
)
def test_a_picture_of_any_size_makes_a_playable_file(tmp_path: Path, size: tuple[int, int]) -> None:
    frames = record(tmp_path / "out.mp4", [(i / 10, grey(*size)) for i in range(2)])
    assert len(frames) == 2
    assert MIN_SIDE <= max(frames[0].shape) <= MAX_SIDE
    assert all(side % 2 == 0 for side in frames[0].shape[:2])


def test_pictures_of_other_sizes_keep_their_proportions(tmp_path: Path) -> None:
    frames = record(tmp_path / "out.mp4", [(0.0, grey(480, 640, 200)), (0.1, grey(640, 320, 200))])
    assert frames[1].shape == frames[0].shape
    assert frames[1][100, 5].mean() < 40, "black beside the portrait"
    assert frames[1][100, 320].mean() > 160


def test_a_variable_rate_plays_at_the_sources_speed(tmp_path: Path) -> None:
    """Shows the picture before repeated over a second without one, and one of two at the same moment left out."""
    shown = [(0.0, grey(100, 100, 50)), (1.0, grey(100, 100, 200)), (1.01, grey(100, 100, 250))]
    frames = record(tmp_path / "out.mp4", shown)
    assert len(frames) == 11
    assert frames[9].mean() < 100 < frames[10].mean()


def test_a_long_silence_is_cut_out(tmp_path: Path) -> None:
    frames = record(tmp_path / "out.mp4", [(0.0, grey(100, 100)), (3600.0, grey(100, 100))])
    assert len(frames) == 2


def test_the_result_is_drawn_into_the_copy_only(tmp_path: Path) -> None:
    image = grey(240, 320)
    sink = Recorder(tmp_path / "out.mp4", info())
    sink.emit(Start("1", "test", {}, ("wave",), 6, 30.0, "block"))
    sink.emit(Result(0, 0.0, "wave", 0.9, (("wave", 0.9),), True, 12.0))
    sink.show(Frame(image, 0, 0.0, 0), image)
    sink.close()
    (recorded,) = read(tmp_path / "out.mp4")
    assert recorded.std() > 10
    assert (image == 128).all()


def test_without_a_picture_nothing_is_changed(tmp_path: Path) -> None:
    """Shows a run that ended before its first picture: no file is made, and the one of before is what it was."""
    Recorder(tmp_path / "out.mp4", info()).close()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out.mp4").write_bytes(b"the last one")
    Recorder(tmp_path / "out.mp4", info()).close()
    assert (tmp_path / "out.mp4").read_bytes() == b"the last one"


def test_a_live_source_overwrites_no_recording(tmp_path: Path) -> None:
    """Shows three runs into one name, as a service that was killed twice: each is kept, the newest under the name."""
    for level in (50, 120, 200):
        sink = Recorder(tmp_path / "door.mp4", replace(info(), live=True))
        sink.show(Frame(grey(48, 64, level), 0, 0.0, 0), grey(48, 64, level))
        sink.close()
    found = [read(tmp_path / name)[0].mean() for name in ("door.1.mp4", "door.2.mp4", "door.mp4")]
    assert found == sorted(found) and len(list(tmp_path.iterdir())) == 3


def test_a_recording_of_a_file_is_made_anew(tmp_path: Path) -> None:
    for count in (5, 3):
        assert len(record(tmp_path / "out.mp4", [(i / 10, grey(48, 64)) for i in range(count)])) == count
    assert len(list(tmp_path.iterdir())) == 1


def test_a_file_of_fragments_is_as_one_that_was_written_in_one_go(tmp_path: Path) -> None:
    """Shows the same pictures, times and length as OpenCV's own file, over several fragments and a part of one."""
    random = np.random.default_rng(0)
    pictures = [np.full((48, 64, 3), random.integers(40, 200, 3), np.uint8) for _ in range(34)]
    whole, video = open_video(tmp_path / "whole.mp4", 10.0, (64, 48)), FragmentedVideo(tmp_path / "f.mp4", 10, (64, 48))
    for picture in pictures:
        whole.write(picture)
        video.write(picture)
    whole.release()
    video.close()
    (wanted, wanted_times), (found, times) = (played(tmp_path / name) for name in ("whole.mp4", "f.mp4"))
    assert times == wanted_times
    assert len(found) == len(pictures)
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(wanted, found, strict=True)) < 2


def played(path: Path) -> tuple[list[Image], list[float]]:
    capture = cv2.VideoCapture(str(path))
    pictures, times = [], []
    while True:
        more, picture = capture.read()
        if not more:
            return pictures, times
        pictures.append(np.asarray(picture, np.uint8))
        times.append(round(capture.get(cv2.CAP_PROP_POS_MSEC), 1))


def test_a_file_plays_while_it_is_being_written(tmp_path: Path) -> None:
    """Shows every half second on the disk before the file is closed, and no other file beside it."""
    video = FragmentedVideo(tmp_path / "out.mp4", 10.0, (64, 48))
    for number in range(1, 38):
        video.write(grey(48, 64, 5 * number))
        assert len(read(tmp_path / "out.mp4")) == number // 5 * 5
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]
    video.close()
    assert len(read(tmp_path / "out.mp4")) == 37


def test_a_full_disk_costs_the_moments_that_it_had_no_room_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows a write that fails half way: it is told, taken back, and what comes later plays after what came before."""
    room, write = [True], os.write

    def scarce(file: int, data: bytes) -> int:
        if room[0]:
            return write(file, data)
        if len(data) > 100:
            return write(file, data[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edge_runtime.sinks.fragments.os.write", scarce)
    video = FragmentedVideo(tmp_path / "out.mp4", 10.0, (64, 48))
    failed = 0
    for number in range(40):
        room[0] = not 10 <= number < 30
        try:
            video.write(grey(48, 64, 5 * number))
        except OSError:
            failed += 1
    video.close()
    assert failed == 4
    levels = [picture.mean() for picture in read(tmp_path / "out.mp4")]
    assert len(levels) == 20
    assert np.allclose(levels, [5 * number for number in (*range(10), *range(30, 40))], atol=4)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("out.avi", "image", "ending in .mp4"),
        ("out.mp4", "skeleton", "no pictures"),
        ("missing/out.mp4", "image", "no folder"),
    ],
)
def test_what_cannot_be_recorded_is_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recorder(tmp_path / name, SourceInfo("test", content, False, 10.0))  # type: ignore[arg-type]
