"""A new model warms up beside the old one and takes over between two hops; results never notice but by their labels."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from edge_runtime.errors import InputError
from edge_runtime.events import Result, Start
from edge_runtime.pipeline.head import Opinion
from edge_runtime.pipeline.succession import Lineup, Muted, Successor, Traits
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


OLD_RAN_ON, NEW_RUNS_ON = {"rtstgcn": "cpu"}, {"rtstgcn": "cuda"}


def successor(new: FakeRecogniser, observer: Muted | None = None) -> Successor:
    return Successor(new, {"model": "new"}, NEW_RUNS_ON, observer or Muted(lambda *_: None))


def run(
    new: FakeRecogniser, at: int, *, hop: int = 3, count: int = 40, **more: Any
) -> tuple[Keep, list[Result], Muted]:
    """A run of ``count`` frames in which ``new`` is offered while frame ``at`` is seen."""
    keep, told = Keep(), Muted(lambda *_: None)

    def offer(frame: Frame) -> None:
        if frame.index == at:
            lineup.successor = successor(new, told)

    old = FakeRecogniser(hop=hop, clip_length=hop, on_step=offer)
    lineup = Lineup({"main": old}, {"model": "old"}, OLD_RAN_ON)
    pipeline(FakeSource(frames(count)), [keep], old, lineup=lineup, **more).run()
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
    assert [e.kind for e in keep.faults] == ["model-replaced"]
    assert keep.faults[0].detail == {"models": {"model": "new"}, "providers": NEW_RUNS_ON}


def test_a_run_says_at_its_end_what_ran_last() -> None:
    """Shows the start event with the old model, and the summary and the lineup with the new one and its providers."""
    keep, *_ = run(Warming(hop=3, clip_length=3), 4)
    start = keep.events[0]
    assert isinstance(start, Start)
    assert (start.models, keep.summary.models) == ({"model": "old"}, {"model": "new"})
    assert keep.summary.providers == NEW_RUNS_ON


def test_what_leaves_is_let_go_at_once() -> None:
    """Shows that nothing refers to the old model once the new one has taken over, so that its memory is free."""
    old = FakeRecogniser(hop=3, clip_length=3)
    lineup, gone = Lineup({"main": old}), weakref.ref(old)
    seen: list[bool] = []
    new = Warming(hop=3, clip_length=3, on_step=lambda _: seen.append(gone() is None))
    lineup.successor = successor(new)
    whole = pipeline(FakeSource(frames(40)), [Keep()], old, lineup=lineup)
    del old
    whole.run()
    assert seen[0] is False  # it answered while the new one warmed up
    assert seen[-1] is True


def test_the_fallback_stays_what_it_was() -> None:
    """Shows that the main model alone is replaced, in what runs and in what is said of it."""
    fallback = FakeRecogniser()
    lineup = Lineup(
        {"main": FakeRecogniser(), "fallback": fallback},
        {"model": "old", "fallback model": "small"},
        {"imfe.head": "cpu", "fallback imfe.head": "cpu"},
    )
    new = successor(FakeRecogniser())
    lineup.successor = new
    lineup.take_over(new)
    assert lineup.recognisers == {"main": new.recogniser, "fallback": fallback}
    assert lineup.models == {"model": "new", "fallback model": "small"}
    assert lineup.providers == {"rtstgcn": "cuda", "fallback imfe.head": "cpu"}
    assert lineup.successor is None


def test_a_model_of_another_kind_cannot_follow() -> None:
    """Shows one line that names what differs."""
    traits = Traits("image", 30.0, 6, 0, ("wave", "none"))
    traits.check_same(traits, "imfe.onnx")
    with pytest.raises(InputError, match=r"imfe\.onnx: its frame rate must be the running model's, 30\.0; found 25\.0"):
        traits.check_same(replace(traits, frame_rate=25.0), "imfe.onnx")


def test_frames_that_are_left_out_are_left_out_for_both() -> None:
    """Shows that the new model is told of a frame that the old one skips, once it has begun."""
    new = Warming(hop=3, clip_length=3)
    waiting = successor(new)
    waiting.skip()
    assert new.skips == 0
    waiting.step(frame(2), True)
    waiting.skip()
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
    assert [e.kind for e in keep.faults] == ["model-refused"]
    assert keep.summary.models == {"model": "old"}
    assert not told.listening


def test_one_that_is_never_warm_never_takes_over() -> None:
    _, results, _ = run(Warming(hop=3, clip_length=3, cold=1000), 4)
    assert {result.label for result in results} == {"wave"}


def test_it_begins_anew_after_a_gap() -> None:
    """Shows that frames from before a gap do not count towards being warm."""
    new = Warming(hop=3, clip_length=3, cold=6)
    waiting = successor(new)
    step: Callable[[int, bool], bool] = lambda index, complete: waiting.step(frame(index), complete)  # noqa: E731
    assert not step(2, True)
    assert not step(3, False)
    waiting.reset()
    assert new.resets == 1
    assert not step(4, False)
    assert new.seen == [3]  # it waits for the beginning of a hop again
