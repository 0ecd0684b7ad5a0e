"""A stream's frames lie in time as they were sent, however they arrive."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest

from edge_runtime.sources.source_time import FOLLOW, TRUST_S, place

PERIOD_S = 1 / 30
LATE = 7.0  # our clock, when a stream that counts from 0 is first seen


def times(stamps: Sequence[float | None], arrivals: Sequence[float]) -> list[float]:
    clock, found = None, []
    for stamp, arrival in zip(stamps, arrivals, strict=True):
        t, clock = place(clock, stamp, arrival)
        found.append(t)
    return found


def spacing(found: Sequence[float]) -> list[float]:
    return [later - sooner for sooner, later in pairwise(found)]


def test_a_burst_after_a_stall_keeps_its_rhythm() -> None:
    """Shows four seconds held back by the network and then delivered at once: no frame's time is bent by over 1 %."""
    stamps = [i * PERIOD_S for i in range(300)]
    arrivals = [LATE + (s if not 3 < s < 7 else 7 + (s - 3) / 1000) for s in stamps]
    found = times(stamps, arrivals)
    assert found[0] == LATE
    assert spacing(found) == pytest.approx([PERIOD_S] * 299, rel=FOLLOW * 1.001)
    assert min(spacing(arrivals)) < PERIOD_S / 100  # by arrival it would have been over in a blink


def test_a_stream_that_comes_in_pieces_keeps_its_rhythm() -> None:
    """Shows HLS: six seconds of pictures at once, then nothing for as long."""
    stamps = [i * PERIOD_S for i in range(1800)]
    found = times(stamps, [LATE + s // 6 * 6 for s in stamps])
    assert spacing(found) == pytest.approx([PERIOD_S] * 1799, rel=FOLLOW * 1.001)


@pytest.mark.parametrize("rate", [0.9998, 1.0002, 0.995])
def test_a_clock_that_runs_fast_or_slow_is_followed(rate: float) -> None:
    """Shows an hour of a camera whose quartz differs from ours: its time stays with arrival."""
    arrivals = [LATE + i / 5 for i in range(18_000)]
    found = times([(a - LATE) * rate for a in arrivals], arrivals)
    assert max(abs(t - a) for t, a in zip(found, arrivals, strict=True)) < 0.01


def test_a_pause_of_the_camera_is_a_pause() -> None:
    """Shows that what the stamps say is missing is missing, as in a camera that was throttled."""
    stamps = [0.0, PERIOD_S, 1.0, 1.0 + PERIOD_S]
    assert spacing(times(stamps, [LATE + s for s in stamps])) == pytest.approx(spacing(stamps), rel=0.02)


@pytest.mark.parametrize("stamp", [None, 0.0])
def test_without_stamps_or_with_one_that_stands_still_arrival_counts(stamp: float | None) -> None:
    arrivals = [LATE, 7.1, 7.4, 7.5]
    assert times([stamp] * 4, arrivals) == arrivals


def test_stamps_that_run_back_begin_anew() -> None:
    stamps, arrivals = [5.0, 5.1, 0.0, 0.1], [LATE, 7.1, 7.2, 7.3]
    assert times(stamps, arrivals) == pytest.approx(arrivals)


@pytest.mark.parametrize("rate", [25 / 30, 25 / 10])
def test_made_up_stamps_are_found_out(rate: float) -> None:
    """Shows stamps at a rate that is not the frames': they part from arrival, once, and arrival counts from then on."""
    arrivals = [LATE + i / 10 for i in range(3000)]
    found = times([i / 10 * rate for i in range(3000)], arrivals)
    assert found[-1000:] == arrivals[-1000:]
    assert sum(abs(step - 0.1) > 1 for step in spacing(found)) == 1
    assert max(abs(t - a) for t, a in zip(found, arrivals, strict=True)) <= TRUST_S
