"""Shows that recorded joints become one kind of body, whatever recorded them, and that nothing is made up silently."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_runtime.errors import InputError
from edge_runtime.sources.figure.motion import JOINTS
from tests.recordings import recording
from trainer.data.motions import Motion, read_motions

LEFT_OF_PICTURE = (1.0, 1.0, 0.0)  # where Penn Action puts a joint that is out of sight


def body() -> np.ndarray:
    """13 joints (13, 2) in pixels of someone upright, facing the camera: head, then left before right."""
    arms = [(225, 90), (175, 90), (230, 130), (170, 130), (232, 165), (168, 165)]
    legs = [(215, 170), (185, 170), (216, 230), (184, 230), (216, 290), (184, 290)]
    return np.array([(200, 60), *arms, *legs], np.float32)


def write_penn(folder: Path, *clips: np.ndarray) -> Path:
    """``penn_action.npz`` of clips (T, 13, 3), each a squat in a picture of 360 x 480."""
    file = folder / "penn_action.npz"
    np.savez(
        file,
        joints=np.concatenate(clips),
        offsets=np.cumsum([0, *(len(clip) for clip in clips)]),
        ids=np.arange(1, len(clips) + 1),
        action=np.array(["squat"] * len(clips)),
        train=np.ones(len(clips), np.int64),
        dimensions=np.array([(360, 480, len(clip)) for clip in clips], np.uint16),
    )
    return file


def still(frames: int = 12) -> np.ndarray:
    clip = np.ones((frames, 13, 3), np.float32)
    clip[..., :2] = body()
    return clip


def at(motion: Motion, name: str) -> np.ndarray:
    return motion.joints[:, JOINTS.index(name)]


def test_a_picture_plane_becomes_a_body_of_height_one_on_the_ground(tmp_path: Path) -> None:
    (motion,) = read_motions(write_penn(tmp_path, still()))
    assert (motion.label, motion.group, motion.fps, motion.flat) == ("squat", "train", 30.0, True)
    assert motion.joints.shape == (12, 16, 3)
    np.testing.assert_allclose(at(motion, "left_ankle")[:, 1], 0, atol=1e-6)
    assert 0.85 < at(motion, "head")[0, 1] < 1.0
    assert at(motion, "hair")[0, 1] > at(motion, "head")[0, 1]
    assert at(motion, "left_wrist")[0, 0] > 0 > at(motion, "right_wrist")[0, 0]
    np.testing.assert_allclose(at(motion, "pelvis")[:, [0, 2]], 0, atol=1e-6)


def test_the_same_body_twice_as_large_is_the_same_body(tmp_path: Path) -> None:
    larger = still()
    larger[..., :2] = 0.5 * larger[..., :2] + 40
    first, second = read_motions(write_penn(tmp_path, still(), larger))
    np.testing.assert_allclose(first.joints, second.joints, atol=1e-5)


def test_a_joint_out_of_sight_is_where_it_was_before_and_after(tmp_path: Path) -> None:
    clip = still()
    clip[4:8, 6] = LEFT_OF_PICTURE
    whole, patched = read_motions(write_penn(tmp_path, still(), clip))
    np.testing.assert_allclose(whole.joints, patched.joints, atol=1e-5)


def test_one_never_seen_mirrors_the_other_legs_hang_and_no_arm_is_invented(tmp_path: Path) -> None:
    one_wrist, no_legs, no_wrists = still(), still(), still()
    one_wrist[:, 5] = LEFT_OF_PICTURE
    no_legs[:, 9:13] = LEFT_OF_PICTURE
    no_wrists[:, 5:7] = LEFT_OF_PICTURE
    found = read_motions(write_penn(tmp_path, one_wrist, no_legs, no_wrists))
    assert len(found) == 2  # who has no hands is left out
    np.testing.assert_allclose(at(found[0], "left_wrist"), at(found[0], "right_wrist"), atol=1e-6)
    knee, ankle = at(found[1], "left_knee")[0], at(found[1], "left_ankle")[0]
    assert ankle[0] == pytest.approx(knee[0]) and ankle[1] < knee[1] < at(found[1], "left_hip")[0, 1]


def test_moments_between_frames_are_interpolated_and_the_last_is_held(tmp_path: Path) -> None:
    joints = np.zeros((3, 16, 3))
    joints[:, :, 0] = np.array([0.0, 1.0, 4.0])[:, None]
    motion = Motion("squat", "train", 2.0, joints, flat=True)
    assert motion.seconds == 1.0
    np.testing.assert_allclose(motion.at(np.array([0.0, 0.25, 0.75, 5.0]))[:, 0, 0], [0, 0.5, 2.5, 4])


def test_real_people_are_recorded_upright_whatever_the_sensor() -> None:
    motions = read_motions(recording("utkinect/labels").parent)
    assert len(motions) == 160 and len({m.label for m in motions}) == 10
    waving = next(m for m in motions if m.label == "waveHands")
    assert not waving.flat
    heights = np.median(at(waving, "head")[:, 1]), np.median(at(waving, "left_knee")[:, 1])
    assert 0.8 < heights[0] < 1.1 and 0.15 < heights[1] < 0.4
    across = (at(waving, "left_shoulder") - at(waving, "right_shoulder")).mean(0)
    assert across[0] > abs(across[2])  # who waves at the sensor faces it: the left side is on the right


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected penn_action\.npz, or UTKinect's folder"):
        read_motions(tmp_path)
    (tmp_path / "penn_action.npz").write_bytes(b"PK\x03\x04broken")
    with pytest.raises(InputError, match=r"not a whole \.npz file"):
        read_motions(tmp_path)
