"""Shows that the generated person moves like one body, the same way for the same seed, and another for another."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.sources.demo import FPS, SCRIPT, Act, DemoSource, render
from edge_runtime.sources.figure.motion import ACTIONS, JOINTS, Build, Manner, Pose, place_joints

TIMES = np.arange(0, 8, 1 / FPS)


def at(*names):
    return [JOINTS.index(name) for name in names]


def draw(seed):
    rng = np.random.default_rng(seed)
    return Build.draw(rng), Manner.draw(rng)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("seed", range(5))
def test_limbs_keep_their_length_feet_their_ground_and_nothing_jumps(action, seed):
    build, manner = draw(seed)
    poses = [ACTIONS[action](manner, t) for t in TIMES]
    joints = np.stack([place_joints(build, pose, 0.3) for pose in poses])
    for side in ("right", "left"):
        for upper, lower in (("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")):
            start, end = at(f"{side}_{upper}", f"{side}_{lower}")
            length = np.linalg.norm(joints[:, start] - joints[:, end], axis=1)
            np.testing.assert_allclose(length, length[0], rtol=1e-9)
    lower_foot = joints[:, at("right_ankle", "left_ankle"), 1].min(axis=1)
    np.testing.assert_allclose(lower_foot, [pose.hop for pose in poses], atol=1e-9)
    step = np.linalg.norm(np.diff(joints, axis=0), axis=2).max()
    assert step * FPS < 9  # heights a second: a fist in a fast blow


@pytest.mark.parametrize(
    ("action", "joint", "least"),
    [
        ("waving", ("right_wrist", "left_wrist"), 0.15),
        ("jumping-jacks", ("right_wrist",), 0.4),
        ("squats", ("head",), 0.2),
        ("walking", ("right_ankle",), 0.4),
        ("boxing", ("right_wrist",), 0.1),
    ],
)
def test_an_action_moves_what_its_name_says_and_standing_does_not(action, joint, least):
    build, manner = draw(1)

    def extent(name):
        joints = np.stack([place_joints(build, ACTIONS[name](manner, t), 0) for t in TIMES])
        return float(np.ptp(joints[:, at(*joint)], axis=0).max())

    assert extent(action) > least
    assert extent("standing") < 0.05


def test_poses_blend_from_one_to_the_other():
    _, manner = draw(2)
    one, other = ACTIONS["squats"](manner, 1.0), ACTIONS["walking"](manner, 1.0)
    for share, expected in ((0.0, one), (1.0, other)):
        mixed = one.blended(other, share)
        np.testing.assert_allclose(mixed.limbs, expected.limbs)
        assert (mixed.lean, mixed.turn) == pytest.approx((expected.lean, expected.turn))
        assert mixed.travel == pytest.approx(expected.travel)


def test_a_clip_is_its_seed():
    script = [Act("waving", 0.2)]
    one, again, other = (list(render(seed, script, (96, 72))) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert np.abs(np.asarray(one, int) - np.asarray(other, int)).mean() > 10


def test_an_action_changes_the_picture_more_than_noise_and_shake_do():
    def change(action):
        frames = np.asarray(list(render(8, [Act(action, 1.0)], (160, 120))), int)
        return np.quantile(np.abs(frames - frames[0]).mean((0, 3)), 0.95)

    assert change("jumping-jacks") > 2 * change("standing")


def test_the_source_plays_its_script_once():
    script = (Act("standing", 0.1), Act("boxing", 0.2))
    with DemoSource(1, script, size=(64, 48)) as source:
        frames = [source.read() for _ in range(9)]
        assert source.read() is None
        assert source.info.frames == 9
    assert [frame.t for frame in frames] == [index / 30 for index in range(9)]
    assert all(frame.data.shape == (48, 64, 3) and frame.data.dtype == np.uint8 for frame in frames)


def test_the_packaged_script_shows_every_action():
    assert {act.action for act in SCRIPT} == set(ACTIONS)
    assert isinstance(ACTIONS["standing"](draw(0)[1], 0.0), Pose)
