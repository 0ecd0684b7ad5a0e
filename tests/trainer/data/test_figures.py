"""Shows that drawn people move as recorded ones did, and that nothing but the movement tells the label."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_runtime.sources.figure.motion import JOINTS
from tests.trainer.data.test_clips import write_clip
from tests.trainer.data.test_motions import still, write_penn
from trainer.data import figures as module
from trainer.data.figures import Figures, read_backgrounds
from trainer.data.motions import Motion, read_motions

RIGHT_WRIST = JOINTS.index("right_wrist")


@pytest.fixture
def standing(tmp_path: Path) -> Motion:
    return read_motions(write_penn(tmp_path, still(60)))[0]


def moved(motion: Motion, label: str, flat: bool = True) -> Motion:
    """The same person, the right hand going up and down."""
    joints = motion.joints.copy()
    joints[:, RIGHT_WRIST, 1] += 0.5 * np.abs(np.sin(np.arange(len(joints)) / 6))
    return Motion(label, "train", motion.fps, joints, flat)


def some(*motions: Motion, each: int = 3) -> Figures:
    return Figures.of(motions, [], (64, 96), 10.0, (1.1, 1.7), each)


def test_every_label_comes_equally_often(standing: Motion) -> None:
    found = some(standing, moved(standing, "lift"), moved(standing, "lift"))
    assert Counter(clip.label for clip in found.clips) == {"squat": 3, "lift": 3}


def test_a_clip_is_of_the_size_rate_and_length_asked_for_and_the_same_for_the_same_seed(standing: Motion) -> None:
    found = some(moved(standing, "lift"))
    for seed in range(5):
        video = found.draw(0, np.random.default_rng(seed))
        assert video.frames.dtype == np.uint8 and video.frames.shape[1:] == (64, 96, 3)
        assert 12 <= len(video.frames) == len(video.times) <= 18
        np.testing.assert_allclose(np.diff(video.times), 0.1)
        np.testing.assert_array_equal(video.frames, found.draw(0, np.random.default_rng(seed)).frames)


@pytest.mark.parametrize("flat", [True, False])
def test_only_what_moves_changes(standing: Motion, flat: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A still person in a still room gives still pictures, but for a slow walk; a hand is seen to move."""
    monkeypatch.setattr(module, "TWO_PEOPLE", 0.0)
    still_, lifting = some(standing), some(moved(standing, "lift", flat))
    changes = []
    for seed in range(6):
        clips = [each.draw(0, np.random.default_rng(seed)).frames.astype(int) for each in (still_, lifting)]
        changes.append([np.abs(np.diff(clip, axis=0)).mean() for clip in clips])
    quiet, busy = np.mean(changes, 0)
    assert 0 < quiet < busy
    corner = lifting.draw(0, np.random.default_rng(0)).frames[:, :3, :3]
    np.testing.assert_array_equal(corner, corner[:1].repeat(len(corner), 0))


def test_two_people_face_each_other(standing: Motion) -> None:
    """Hands in front: of the left one to the right, of the right one to the left, flat or turned in depth."""
    ahead = standing.joints.copy()
    ahead[:, RIGHT_WRIST, 2] += 0.5  # towards the camera, which this person faces
    ahead[:, RIGHT_WRIST + 1, 2] += 0.5
    deep = Motion("reach", "s01", 30.0, ahead, flat=False)
    aside = standing.joints.copy()
    aside[:, RIGHT_WRIST : RIGHT_WRIST + 2, 0] += 0.5
    for motion in (deep, Motion("reach", "train", 30.0, aside, flat=True)):
        for seed in range(10):
            for side in (-1, 1):
                seen = module._turned(motion.joints, motion.flat, side, np.random.default_rng(seed))
                reach = (seen[:, RIGHT_WRIST : RIGHT_WRIST + 2, 0].mean(1) - seen[:, 0, 0]).mean()
                assert reach * side < 0


def test_half_of_the_pictures_show_two(standing: Motion, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[int] = Counter()
    film = module._Stage.film

    def counted(stage: module._Stage, actors: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        counts[len(actors)] += 1
        return film(stage, actors, rng)

    monkeypatch.setattr(module._Stage, "film", counted)
    found = some(standing)
    for seed in range(60):
        found.draw(0, np.random.default_rng(seed))
    assert counts[1] + counts[2] == 60 and 15 < counts[2] < 45


def test_backgrounds_are_frames_of_videos_of_any_folder_and_a_broken_one_is_passed_over(tmp_path: Path) -> None:
    write_clip(tmp_path / "a" / "clip.avi", frames=20)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    found = read_backgrounds(tmp_path, 3, 16)
    assert len(found) == 3 and all(picture.shape[0] <= 16 and picture.dtype == np.uint8 for picture in found)


def test_a_real_background_is_seen_in_its_own_colours(standing: Motion) -> None:
    """Videos are read as BGR and clips are RGB: a red wall stays red."""
    red = np.zeros((64, 96, 3), np.uint8)
    red[..., 2] = 200
    wall = cv2.GaussianBlur(red, (3, 3), 0)
    rooms = [module._background(np.random.default_rng(seed), [np.asarray(wall, np.uint8)], 64, 96) for seed in range(8)]
    seed = next(i for i, room in enumerate(rooms) if (room == red).all())
    stage = module._Stage(np.random.default_rng(seed), [red], (64, 96))
    frames = stage.film([standing.at(np.arange(3) / 10)], np.random.default_rng(0))
    np.testing.assert_array_equal(np.median(frames, axis=(0, 1, 2)), [200, 0, 0])
