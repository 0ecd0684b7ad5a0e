"""Augmentations change what another day would change, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.data.augment import Augmentation, augment, crop, mirror, rotation, time_warp
from trainer.losses import IGNORED


def trial(channels: int = 6, length: int = 50, nodes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((channels, length, nodes)).astype(np.float32)
    return x, np.repeat(np.arange(5), length // 5)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("how", [{"rotate": 0.5}, {"rotate_node": 0.5}])
def test_rotations_keep_every_vectors_length(how: dict[str, float]) -> None:
    x, labels = trial()
    y, _ = augment(x, labels, Augmentation(**how), rng())
    assert not np.allclose(x, y)
    lengths = [np.linalg.norm(a.reshape(2, 3, 50, 4), axis=1) for a in (x, y)]
    np.testing.assert_allclose(*lengths, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_rotation_is_orthogonal(size: int) -> None:
    r = rotation(size, 1.0, rng())
    np.testing.assert_allclose(r @ r.T, np.eye(size), atol=1e-6)


def test_a_time_warp_changes_the_length_and_keeps_the_order_of_actions() -> None:
    x, labels = trial()
    for speed, length in ((0.5, 100), (2.0, 25)):
        y, warped = time_warp(x, labels, speed)
        assert y.shape == (6, length, 4)
        assert len(warped) == length
        assert (np.diff(warped) >= 0).all()
        assert set(warped) == set(labels)


def test_a_mirrored_body_mirrored_again_is_itself() -> None:
    x, _ = trial()
    sides = ((0, 1), (2, 3))
    once = mirror(x, sides)
    np.testing.assert_array_equal(once[0, :, 0], -x[0, :, 1])
    np.testing.assert_array_equal(once[1, :, 0], x[1, :, 1])
    np.testing.assert_array_equal(mirror(once, sides), x)


def test_an_overloaded_sensor_is_clipped_at_full_scale() -> None:
    x, labels = trial()
    y, _ = augment(x, labels, Augmentation(overload_node=1.0, limit=15.0), rng())
    np.testing.assert_array_equal(y[:3], x[:3])
    np.testing.assert_allclose(y[3:], np.clip(10 * x[3:], -15, 15), rtol=1e-6)


def test_a_lost_node_is_zero() -> None:
    x, labels = trial()
    y, _ = augment(x, labels, Augmentation(drop_node=1.0), rng())
    assert (y == 0).all()


def test_without_a_request_nothing_changes_and_the_trial_is_not_touched() -> None:
    x, labels = trial()
    y, same = augment(x, labels, Augmentation(), rng())
    np.testing.assert_array_equal(x, y)
    assert not np.shares_memory(x, y)
    np.testing.assert_array_equal(labels, same)


def test_the_same_generator_makes_the_same_change() -> None:
    x, labels = trial()
    how = Augmentation(rotate=0.1, rotate_node=0.1, scale=0.1, scale_node=0.1, noise=0.1, time_warp=0.2, drop_node=0.3)
    first, second = augment(x, labels, how, rng(4)), augment(x, labels, how, rng(4))
    np.testing.assert_array_equal(first[0], second[0])


def test_a_crop_keeps_frames_and_labels_together() -> None:
    x = np.arange(50, dtype=np.float32)[None, :, None]
    y, labels = crop(x, np.arange(50), 20, rng())
    assert y[0, :, 0].tolist() == labels.tolist()
    assert len(labels) == 20


def test_what_follows_a_cut_counts_only_after_its_lead() -> None:
    """Shows that a stretch without its past is not trained on at its start, and that a trial's own start is."""
    x, starts = np.arange(50, dtype=np.float32)[None, :, None], set()
    for seed in range(20):
        y, labels = crop(x, np.arange(50), 20, rng(seed), lead=5)
        start = int(y[0, 0, 0])
        starts.add(start > 0)
        assert labels[:5].tolist() == ([IGNORED] * 5 if start else [0, 1, 2, 3, 4])
        assert labels[5:].tolist() == y[0, 5:, 0].tolist()
    assert starts == {True, False}


def test_a_short_trial_is_continued_with_frames_that_do_not_count() -> None:
    x = np.arange(3, dtype=np.float32)[None, :, None]
    y, labels = crop(x, np.array([4, 5, 6]), 7, rng())
    assert y[0, :, 0].tolist() == [0, 1, 2, 2, 1, 0, 0]
    assert labels.tolist() == [4, 5, 6] + [IGNORED] * 4
