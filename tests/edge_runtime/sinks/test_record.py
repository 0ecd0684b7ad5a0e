"""The recording: playable, at the source's speed, whatever the pictures' sizes and times."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edge_runtime.errors import InputError
from edge_runtime.events import Result, Start
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


def test_without_a_picture_no_file_is_left(tmp_path: Path) -> None:
    Recorder(tmp_path / "out.mp4", info()).close()
    assert list(tmp_path.iterdir()) == []


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
