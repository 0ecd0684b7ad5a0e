"""The measurements, on a simulated clock where time is asserted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_runtime.bench.measure import streams_that_fit, throughput, warm_up
from edge_runtime.pipeline.budgets import Budgets
from tests.edge_runtime.bench.test_replay import MS, THREE, Clock
from tests.edge_runtime.pipeline.fakes import FakeRecogniser


def recogniser_taking(ms: float, clock: Clock) -> FakeRecogniser:
    def work(_: object) -> None:
        clock.now += round(ms * MS)

    return FakeRecogniser(hop=2, fps=10.0, on_step=work)


@pytest.mark.parametrize(("ms", "guess", "fits"), [(30, 3, 3), (30, 1, 3), (30, 12, 3), (11, 2, 9), (120, 1, 0)])
def test_as_many_streams_fit_as_there_is_time_for(ms: float, guess: int, fits: int) -> None:
    """Shows that at 10 FPS, 30 ms a frame leave room for three streams, from whatever number one starts to try."""
    clock = Clock()
    found = streams_that_fit(
        lambda: recogniser_taking(ms, clock),
        THREE,
        Budgets.derive(10.0, 2),
        seconds=20,
        guess=guess,
        clock=clock,
        sleep=clock.sleep,
    )
    assert found["fits"] == fits
    assert found["budget_ms"] == 200
    counts = [one["streams"] for one in found["tried"]]
    assert counts == sorted(set(counts))
    assert fits + 1 in counts
    assert {one["streams"]: one["fits"] for one in found["tried"]}[fits + 1] is False


def test_a_late_result_of_any_stream_counts_from_when_its_frame_was_due() -> None:
    """Shows that two streams at 30 ms a frame, half an interval apart, never wait for each other."""
    clock = Clock()
    found = streams_that_fit(
        lambda: recogniser_taking(30, clock),
        THREE,
        Budgets.derive(10.0, 2),
        seconds=20,
        guess=2,
        clock=clock,
        sleep=clock.sleep,
    )
    two = next(one for one in found["tried"] if one["streams"] == 2)
    assert two["p99_ms"] == pytest.approx(30, rel=0.01)
    assert two["results"] == 200


def test_of_a_faster_camera_the_networks_rate_counts() -> None:
    """Shows that at 30 FPS a network of 10 FPS still has room for three streams of 30 ms a frame."""
    clock = Clock()
    found = streams_that_fit(
        lambda: recogniser_taking(30, clock),
        replace(THREE, fps=30.0),
        Budgets.derive(10.0, 2),
        seconds=20,
        guess=3,
        clock=clock,
        sleep=clock.sleep,
    )
    assert found["fits"] == 3
    assert throughput(FakeRecogniser(fps=10.0), replace(THREE, fps=30.0), 0)["times_real_time"] > 0


def test_throughput_counts_what_it_ran_and_leaves_no_state_behind() -> None:
    recogniser = FakeRecogniser(hop=2, fps=10.0)
    found = throughput(recogniser, THREE, seconds=0.02)
    assert found["frames"] == len(recogniser.seen)
    assert found["frames_per_s"] == pytest.approx(found["frames"] / found["seconds"])
    assert found["times_real_time"] == pytest.approx(found["frames_per_s"] / 10)
    assert recogniser.resets == 2


def test_warming_up_runs_at_least_to_the_first_result() -> None:
    recogniser = FakeRecogniser(hop=7)
    assert warm_up(recogniser, THREE, seconds=0)["frames"] == 7
