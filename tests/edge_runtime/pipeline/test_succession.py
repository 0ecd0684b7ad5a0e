"""A new model warms up beside the old one and takes over between two hops; results never notice but by their labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from edge_runtime.events import Fault, Result
from edge_runtime.pipeline.head import Opinion
from edge_runtime.pipeline.succession import Muted, Successor
from edge_runtime.sources.base import Frame
from tests.edge_runtime.pipeline.fakes import FakeRecogniser, FakeSource, Keep, frame, frames, pipeline


@dataclass
class Warming(FakeRecogniser):
    """Warm from its ``cold``-th frame on; sure of class 1, which the old one never says."""

    cold: int = 6

    def step(self, frame: Frame) -> list[Opinion]:
        opinions = super().step(frame)
        scores = [opinion.scores[::-1] for opinion in opinions if opinion.scores is not None]
        warm = len(self.seen) >= self.cold
        return [replace(o, scores=s, warm=warm) for o, s in zip(opinions, scores, strict=True)]


def run(
    new: FakeRecogniser, at: int, *, hop: int = 3, count: int = 40, **more: Any
) -> tuple[Keep, list[Result], Muted]:
    """A run of ``count`` frames in which ``new`` is offered while frame ``at`` is seen."""
    keep, told = Keep(), Muted(lambda *_: None)
    holder: list[Any] = []

    def offer(frame: Frame) -> None:
        if frame.index == at:
            holder[0].succeed(Successor(new, {"model": "new"}, told))

    source = FakeSource(frames(count))
    holder.append(pipeline(source, [keep], FakeRecogniser(hop=hop, clip_length=hop, on_step=offer), **more))
    holder[0].run()
    return keep, [event for event in keep.events if isinstance(event, Result)], told


@pytest.mark.parametrize("at", [0, 4, 5, 6, 11])
def test_every_hop_has_one_result_whoever_gives_it(at: int) -> None:
    """Shows that results come at the same frames as without a change, first the old model's, then the new one's."""
    new = Warming(hop=3, clip_length=3)
    keep, results, told = run(new, at)
    assert [result.frame for result in results] == list(range(2, 40, 3))
    by_new = [result.label == "none" for result in results]
    assert by_new == sorted(by_new) and any(by_new) and not all(by_new)
    assert told.listening
    assert [e.kind for e in keep.events if isinstance(e, Fault)] == ["model-replaced"]


def test_frames_that_are_left_out_are_left_out_for_both() -> None:
    """Shows that the new model is told of a frame that the old one skips, once it has begun."""
    new = Warming(hop=3, clip_length=3)
    successor = Successor(new, {}, Muted(lambda *_: None))
    successor.skip()
    assert new.skips == 0
    successor.step(frame(2), True)
    successor.skip()
    assert new.skips == 1


def test_it_runs_at_the_hop_of_the_one_that_it_follows() -> None:
    """Shows a policy that has lengthened the hop before the new model came."""
    new = Warming(hop=1, clip_length=3)
    _, results, _ = run(new, 4)
    assert new.hop == 3
    assert [result.frame for result in results] == list(range(2, 40, 3))


def test_it_is_not_heard_before_it_is_warm() -> None:
    new = Warming(hop=3, clip_length=3, cold=12)
    _, results, _ = run(new, 0)
    first = next(result.frame for result in results if result.label == "none")
    assert first - new.seen[0] >= 12
    assert new.seen[0] % 3 == 0  # it began with a hop


def test_a_new_model_that_fails_is_dropped_and_the_old_one_goes_on() -> None:
    def fail(frame: Frame) -> None:
        raise RuntimeError("of another shape")

    keep, results, told = run(Warming(hop=3, clip_length=3, on_step=fail), 4)
    assert [result.frame for result in results] == list(range(2, 40, 3))
    assert {result.label for result in results} == {"wave"}
    assert [e.kind for e in keep.events if isinstance(e, Fault)] == ["model-refused"]
    assert not told.listening


def test_one_that_is_never_warm_never_takes_over() -> None:
    _, results, _ = run(Warming(hop=3, clip_length=3, cold=1000), 4)
    assert {result.label for result in results} == {"wave"}


def test_it_begins_anew_after_a_gap() -> None:
    """Shows that frames from before a gap do not count towards being warm."""
    new = Warming(hop=3, clip_length=3, cold=6)
    successor = Successor(new, {}, Muted(lambda *_: None))
    step: Callable[[int, bool], bool] = lambda index, complete: successor.step(frame(index), complete)  # noqa: E731
    assert not step(2, True)
    assert not step(3, False)
    successor.reset()
    assert new.resets == 1
    assert not step(4, False)
    assert new.seen == [3]  # it waits for the beginning of a hop again
