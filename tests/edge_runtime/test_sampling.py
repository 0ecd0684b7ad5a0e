"""Shows which frames are chosen, on timestamps of every kind that sources produce."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime.sampling import Choice, FrameSampler, Rate, State, choose


def take(rate: Rate, times: np.ndarray) -> tuple[np.ndarray, list[Choice]]:
    sampler = FrameSampler(rate)
    choices = [sampler.step(float(t)) for t in times]
    return times[[c.use for c in choices]], choices


def clock(fps: float, count: int, jitter_s: float = 0.0) -> np.ndarray:
    noise = np.random.default_rng(5).uniform(-jitter_s, jitter_s, count)
    return np.maximum.accumulate(np.arange(count) / fps + noise)


@pytest.mark.parametrize(("source", "model"), [(30, 30), (29.97, 30), (30, 29.97), (25, 25), (59.94, 60)])
def test_a_source_of_the_models_rate_loses_no_frame_even_with_jitter_of_a_quarter_period(source, model):
    times = clock(source, 5000, jitter_s=0.25 / source)
    used, choices = take(Rate.matching(model, source), times)
    assert len(used) == len(times)
    assert not any(c.slow for c in choices)


@pytest.mark.parametrize(("source", "model", "every"), [(60, 30, 2), (59.94, 30, 2), (120, 30, 4), (30, 10, 3)])
def test_a_multiple_of_the_models_rate_is_thinned_regularly_for_as_long_as_it_runs(source, model, every):
    times = clock(source, 50_000)
    used, _ = take(Rate.matching(model, source), times)
    np.testing.assert_allclose(np.diff(used), every / source, rtol=1e-6)


@pytest.mark.parametrize("source", [31, 33, 45, 50, 59.94, 60, 144, 240])
@pytest.mark.parametrize("jitter_s", [0, 0.002])
def test_any_faster_source_is_brought_to_the_models_rate(source, jitter_s):
    times = clock(source, 20_000, jitter_s)
    used, _ = take(Rate.matching(30, source), times)
    assert len(used) / times[-1] == pytest.approx(30, rel=0.003)
    spread = 1 / source + 2 * jitter_s + 1e-9  # a frame is at most half a source period off the grid, twice over
    assert np.abs(np.diff(used) - 1 / 30).max() <= spread


@pytest.mark.parametrize("source", [25, 24, 15, 10, 1])
def test_a_slower_source_has_every_frame_used_and_is_called_slow(source):
    used, choices = take(Rate.matching(30, source), clock(source, 300, jitter_s=0.1 / source))
    assert len(used) == 300
    assert choices[-1].slow


def test_a_hiccup_makes_no_slow_source():
    """Shows that half a second of silence within a steady 30 FPS is not taken for the source's rate."""
    times = np.arange(600) / 30
    times[200:] += 0.45
    _, choices = take(Rate.matching(30, 30), times)
    assert not any(c.slow for c in choices)


def test_variable_frame_rate_follows_the_timestamps_and_not_the_header():
    fast, slow = np.arange(120) / 60, 2 + np.arange(48) / 24
    times = np.concatenate([fast, slow])
    used, _ = take(Rate.matching(30, 42), times)  # the header's mean rate
    assert (used < 2).sum() == 60
    assert (used >= 2).sum() == 48


def test_a_rate_the_source_does_not_state_is_learnt():
    used, _ = take(Rate.matching(30), clock(59.94, 6000, jitter_s=0.003))
    assert len(used) == pytest.approx(3000, abs=10)


def test_two_frames_of_one_moment_count_once():
    used, _ = take(Rate.matching(30), np.repeat(np.arange(100) / 30, 2))
    assert len(used) == 100


def test_a_silence_starts_the_grid_anew_and_is_no_period():
    """Shows that after ten seconds without a frame the same frames are taken as before, and none is called slow."""
    times = np.concatenate([np.arange(60) / 60, 11 + np.arange(60) / 60])
    used, choices = take(Rate.matching(30, 60), times)
    np.testing.assert_allclose(used[used >= 11], 11 + np.arange(30) / 30)
    assert not any(c.slow for c in choices)


def test_a_clock_that_jumps_back_starts_the_grid_there():
    times = np.concatenate([100 + np.arange(60) / 60, np.arange(60) / 60])
    used, _ = take(Rate.matching(30, 60), times)
    np.testing.assert_allclose(used[30:], np.arange(30) / 30)


def test_choosing_is_pure():
    rate, state = Rate.matching(30), State()
    for t in (0.0, 0.02, 0.03):
        first, again = choose(rate, state, t), choose(rate, state, t)
        assert first == again
        _, state = first


@given(st.lists(st.floats(0, 10), max_size=200), st.floats(1, 120))
def test_never_more_frames_than_the_rate_allows_whatever_the_timestamps(steps, fps):
    times = np.cumsum(np.asarray([0.0, *steps]) / 100)
    used, _ = take(Rate.matching(fps), times)
    assert len(used) <= 3 + times[-1] * fps * (1 + 1 / 16)
