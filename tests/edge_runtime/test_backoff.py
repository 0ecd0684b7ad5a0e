"""Attempts come ever later, and never in step with another device."""

from __future__ import annotations

from edge_runtime.backoff import Backoff


def test_delays_double_up_to_the_cap_and_differ() -> None:
    steady = Backoff(1, 60, jitter=lambda: 0.0)
    assert [steady.next_s() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    steady.reset()
    assert steady.next_s() == 1
    assert Backoff(1, 60, jitter=lambda: 1.0).next_s() == 0.5
    tireless = Backoff()
    assert all(0 < tireless.next_s() <= 60 for _ in range(5000))
    assert len({tireless.next_s() for _ in range(50)}) == 50
