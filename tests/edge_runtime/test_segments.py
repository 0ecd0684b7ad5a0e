"""Results become segments: when they begin and end, and what does not count."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_runtime.errors import InputError
from edge_runtime.events import Result, Segment
from edge_runtime.segments import Hysteresis, Segmenter

LABELS = ("wave", "push", "none")
INSTANT = Hysteresis(smoothing_s=0, min_duration_s=0)


def result(t: float, label: str, score: float = 0.9, body: int | None = None) -> Result:
    others = [other for other in LABELS if other != label]
    top = ((label, score), *((other, (1 - score) / 2) for other in others))
    return Result(round(t * 30), t, label, score, top, True, 1.0, body)


def named(*runs: tuple[str, float], rate: float = 5.0) -> list[Result]:
    """Results at ``rate`` a second that name each label for so many seconds."""
    labels = [label for label, seconds in runs for _ in range(round(seconds * rate))]
    return [result(i / rate, label) for i, label in enumerate(labels)]


def segment(results: Sequence[Result], how: Hysteresis | None = None) -> list[Segment]:
    segmenter = Segmenter(how or Hysteresis(), background="none")
    return [s for r in results for s in segmenter.step(r)] + segmenter.finish()


@pytest.mark.parametrize("rate", [5.0, 60.0])
def test_an_action_is_found_where_it_was_at_any_rate_of_results(rate: float) -> None:
    """Shows that smoothing is over time, and that its lag moves no border."""
    found = segment(named(("none", 2), ("wave", 3), ("none", 2), rate=rate))
    assert [s.label for s in found] == ["wave"]
    assert found[0].start == pytest.approx(2.0, abs=1 / rate)
    assert found[0].end == pytest.approx(5.0 - 1 / rate, abs=1 / rate)
    assert found[0].score == pytest.approx(0.9)


def test_one_wrong_result_does_not_cut_an_action_in_two() -> None:
    results = named(("wave", 1), ("push", 0.2), ("wave", 1))
    assert [(s.label, s.start, s.end) for s in segment(results)] == [("wave", 0.0, results[-1].t)]


def test_one_wrong_result_is_no_action() -> None:
    assert segment(named(("none", 2), ("push", 0.2), ("none", 2))) == []


def test_the_background_ends_an_action_and_is_not_reported() -> None:
    found = segment(named(("wave", 2), ("none", 3), ("wave", 2)))
    assert [s.label for s in found] == ["wave", "wave"]


def test_actions_follow_each_other_without_overlap() -> None:
    first, second = segment(named(("wave", 2), ("push", 2)))
    assert (first.label, second.label) == ("wave", "push")
    assert first.end <= second.start


def test_an_action_shorter_than_the_minimum_is_left_out() -> None:
    results = named(("none", 1), ("wave", 1), ("none", 1))
    assert len(segment(results, Hysteresis(min_duration_s=0.7))) == 1
    assert segment(results, Hysteresis(min_duration_s=1.5)) == []


def test_an_unsure_opinion_continues_an_action_but_begins_none() -> None:
    """Shows the hysteresis: 0.4 lies between leave (0.3) and enter (0.5)."""
    sure = [result(t / 5, "wave", 0.9) for t in range(5)]
    unsure = [result(1 + t / 5, "wave", 0.4) for t in range(5)]
    (found,) = segment(sure + unsure, INSTANT)
    assert found.end == unsure[-1].t
    assert segment(unsure, INSTANT) == []


def test_the_end_of_the_stream_ends_the_open_action() -> None:
    segmenter = Segmenter(Hysteresis(), "none")
    assert [s for r in named(("wave", 2)) for s in segmenter.step(r)] == []
    assert [s.label for s in segmenter.finish()] == ["wave"]
    assert segmenter.finish() == [], "it is reported once"


def test_bodies_are_followed_apart() -> None:
    segmenter = Segmenter(Hysteresis(), "none")
    for t in range(20):
        segmenter.step(result(t / 10, "wave", body=0))
        segmenter.step(result(t / 10, "push", body=1))
    assert {(s.body, s.label) for s in segmenter.finish()} == {(0, "wave"), (1, "push")}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
@example(71)  # two labels take turns until the one that was named last loses
def test_segments_are_in_order_apart_and_long_enough_whatever_comes(seed: int) -> None:
    chance = random.Random(seed)
    how = Hysteresis(min_duration_s=0.3)
    t, results = 0.0, []
    for _ in range(200):
        t += chance.choice((0.02, 0.2, 0.7))
        results.append(result(t, chance.choice(LABELS), chance.uniform(0.34, 1)))
    found = segment(results, how)
    assert all(s.end - s.start >= how.min_duration_s and s.label != "none" for s in found)
    assert all(a.end <= b.start for a, b in pairwise(found))
    assert all(0 < s.score <= 1 for s in found)


@pytest.mark.parametrize("wrong", [{"enter": 0.2}, {"leave": 0}, {"enter": 1.1}, {"smoothing_s": -1}])
def test_thresholds_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="segments"):
        Hysteresis(**wrong)
