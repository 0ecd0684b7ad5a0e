"""Shows that calibration sees what the network will see: the model's size and rate, from all that was given."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.quantization.frames import read_clips
from tests.edge_runtime.streams.small_models import SmallImfe

MODEL = SmallImfe.make().metadata  # 32 x 48, clips of 6, 30 frames a second


def video(path: Path, frames: int, fps: float = 30.0, level: int = 100) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (96, 64))
    for i in range(frames):
        writer.write(np.full((64, 96, 3), level + i % 50, np.uint8))
    writer.release()
    return path


def test_clips_have_the_models_size_and_length(tmp_path: Path) -> None:
    clips = read_clips(str(video(tmp_path / "a.avi", 40)), MODEL, clips=4)
    assert [clip.shape for clip in clips] == [(6, 32, 48, 3)] * 4


def test_frames_are_chosen_at_the_models_rate(tmp_path: Path) -> None:
    """Shows that 36 frames at 60 a second are three clips at 30, and at 30 six."""
    assert len(read_clips(str(video(tmp_path / "fast.avi", 36, fps=60.0)), MODEL, clips=99)) == 3
    assert len(read_clips(str(video(tmp_path / "even.avi", 36)), MODEL, clips=99)) == 6


def test_a_folder_gives_clips_of_every_video(tmp_path: Path) -> None:
    video(tmp_path / "dark.avi", 60, level=10)
    video(tmp_path / "bright.avi", 60, level=190)
    brightness = [float(clip.mean()) for clip in read_clips(str(tmp_path), MODEL, clips=6)]
    assert min(brightness) < 80
    assert max(brightness) > 160


def test_a_folder_of_pictures_is_one_video(tmp_path: Path) -> None:
    for i in range(14):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((64, 96, 3), i, np.uint8))
    assert len(read_clips(str(tmp_path), MODEL, clips=5)) == 2


def test_too_little_is_said_with_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected at least two clips of 6 frames, found 1"):
        read_clips(str(video(tmp_path / "short.avi", 8)), MODEL, clips=8)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing"):
        read_clips(str(tmp_path / "nothing.mp4"), MODEL, clips=8)
