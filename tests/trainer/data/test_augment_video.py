"""Augmentation: what may change does, what may not does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from trainer.data.augment_video import Augmentation, change_light, choose_frames, move_camera
from trainer.data.clips import Video
from trainer.data.flow import grid_flow

NOTHING = Augmentation(
    scale=(1.0, 1.0),
    stretch=0.0,
    rotation_deg=0.0,
    mirror=0.0,
    speed=(1.0, 1.0),
    max_skip=0.0,
    gain=0.0,
    tint=0.0,
    gray=0.0,
    blur=0.0,
    noise=0.0,
    erase=0.0,
)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random texture, uint8 (height, width, 3)."""
    waves = np.random.default_rng(seed).normal(size=(4, 4, 3))
    y, x = np.mgrid[:height, :width] / 8
    total = sum(
        waves[i, j] * np.sin(x * (i + 1) + y * (j - 1.5) + i * j)[..., None] for i in range(4) for j in range(4)
    )
    return np.clip(128 + 24 * total, 0, 255).astype(np.uint8)


def test_no_augmentation_is_the_identity() -> None:
    frames = np.stack([picture(32, 48, i) for i in range(3)])
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(change_light(move_camera(frames, 32, 48, NOTHING, rng), NOTHING, rng), frames)


def test_mirroring_turns_horizontal_motion_round() -> None:
    frames = np.stack([np.roll(picture(64, 96), 2 * t, axis=1) for t in range(3)])
    mirrored = move_camera(frames, 64, 96, replace(NOTHING, mirror=1.0), np.random.default_rng(0))
    there, back = grid_flow(frames)[:, 0, 1:-1, 2:-2], grid_flow(mirrored)[:, 0, 1:-1, 2:-2]
    assert there.mean() == pytest.approx(2 / 8, rel=0.1)  # 2 pixels are a quarter of a cell
    assert back.mean() == pytest.approx(-2 / 8, rel=0.1)


def test_all_frames_of_a_clip_are_seen_by_the_same_camera() -> None:
    frames = np.repeat(picture(40, 60)[None], 4, axis=0)
    rng = np.random.default_rng(1)
    augmentation = replace(Augmentation(), noise=0.0)
    out = change_light(move_camera(frames, 32, 48, augmentation, rng), augmentation, rng)
    assert out.shape == (4, 32, 48, 3)
    for frame in out[1:]:
        np.testing.assert_array_equal(frame, out[0])
    assert np.abs(out[0].astype(int).mean() - frames[0].mean()) < 100


@pytest.mark.parametrize(("fps", "wanted"), [(30.0, 10.0), (20.0, 10.0), (8.0, 10.0)])
def test_frames_rise_in_time_and_keep_the_rate(fps: float, wanted: float) -> None:
    video = Video(np.zeros((90, 1, 1, 3), np.uint8), np.arange(90) / fps)
    for seed in range(20):
        index = choose_frames(video, wanted, Augmentation(), 24, 12, np.random.default_rng(seed))
        steps = np.diff(video.times[index])
        assert 12 <= len(index) <= 24
        assert (steps > 0).all()
        assert 0.7 / wanted - 1 / fps <= steps.mean() <= max(1.4 / wanted, 1 / fps) + 1 / fps


def test_a_short_clip_is_slowed_down_and_at_last_held() -> None:
    video = Video(np.zeros((5, 1, 1, 3), np.uint8), np.arange(5) / 30)
    index = choose_frames(video, 10.0, Augmentation(), 24, 12, np.random.default_rng(0))
    assert len(index) >= 12 and index[-1] == 4 and (np.diff(index) >= 0).all()
