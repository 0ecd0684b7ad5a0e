"""Shows what is noticed about a live picture; no camera, no clock, no waiting."""

from __future__ import annotations

import numpy as np
import pytest

from edge_runtime.sources.supervision import Glance, Patience, Watch, glance, watch

PATIENCE = Patience(frozen_s=2.0, black_s=3.0)


def see(glances, fps=10.0):
    """Kinds of notices and the seconds at which they came."""
    state, seen = Watch(), []
    for index, item in enumerate(glances):
        notices, state = watch(PATIENCE, state, item, index / fps)
        seen += [(notice.kind, index / fps) for notice in notices]
    return seen


def lively(count, start=0, size=(64, 48)):
    return [Glance(size, start + index, False) for index in range(count)]


def test_a_living_picture_is_not_remarkable():
    assert see(lively(500)) == []


def test_a_picture_that_stays_the_same_to_the_bit_is_frozen_after_the_stated_time_and_not_before():
    still = [Glance((64, 48), 7, False)] * 20
    assert see(lively(5) + still) == []
    assert see(lively(5) + still + still[:1]) == [("frozen", 2.5)]


def test_two_pictures_that_alternate_are_not_frozen():
    assert see([Glance((64, 48), index % 2, False) for index in range(100)]) == []


def test_darkness_is_said_once_and_its_end_once():
    dark = [Glance((64, 48), index, True) for index in range(100)]
    assert see(dark + lively(20, 1000) + lively(20, 2000)) == [("black", 3.0), ("black-over", 10.0)]


def test_a_short_darkness_is_not_said():
    assert see(lively(5) + [Glance((64, 48), -index, True) for index in range(29)] + lively(5, 50)) == []


def test_a_covered_lens_is_black_and_not_frozen():
    assert [kind for kind, _ in see([Glance((64, 48), 0, True)] * 100)] == ["black"]


def test_a_change_of_size_is_seen_at_once():
    assert see(lively(3) + lively(3, 10, (32, 24))) == [("size-change", 0.3)]


@pytest.mark.parametrize("shape", [(1, 1), (480, 640), (4320, 7680), (492, 354)])
def test_a_glance_tells_any_two_frames_apart_that_a_camera_makes(shape):
    rng = np.random.default_rng(0)
    image = rng.integers(100, 110, (*shape, 3), np.uint8)
    noisy = image + rng.integers(0, 3, image.shape, np.uint8)
    noisy[0, 0] = 0
    assert glance(image) == glance(image.copy())
    assert glance(image) != glance(noisy)
    assert glance(image).size == (shape[1], shape[0])


def test_black_means_dark_and_even():
    assert glance(np.full((48, 64, 3), 16, np.uint8)).black
    night = np.full((48, 64, 3), 5, np.uint8)
    night[:10, :10] = 200  # a lamp
    assert not glance(night).black
    assert not glance(np.full((48, 64, 3), 40, np.uint8)).black
