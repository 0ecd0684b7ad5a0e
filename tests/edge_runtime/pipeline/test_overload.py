"""Overload: 30 frames a second offered to a network that takes 60 ms, under each policy, through the whole pipeline.

Threads, queues, account, stage times and report are the real ones; what time it is decides the network: its step takes
60 ms of a simulated clock, and when it has nothing to do the clock goes on to the next frame. So a run takes no time
and gives the same each time, however busy the machine is. `test_policy` has the decisions alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_runtime.bench.replay import PacedSource, Recording
from edge_runtime.events import Features, Summary
from edge_runtime.pipeline.assembly import load_models, open_recogniser
from edge_runtime.pipeline.budgets import WHOLE, Budgets
from edge_runtime.pipeline.head import Opinion
from edge_runtime.pipeline.monitor import StageMonitor
from edge_runtime.pipeline.pipeline import Pipeline
from edge_runtime.pipeline.policy import Governor, PolicyName, choose
from edge_runtime.pipeline.recogniser import Recogniser
from edge_runtime.pipeline.succession import Lineup
from edge_runtime.pipeline.timing import StageTimes
from edge_runtime.report.sink import ReportSink
from edge_runtime.sources.base import Frame, SourceInfo
from tests.edge_runtime.pipeline.fakes import Keep
from tests.edge_runtime.streams.small_models import SmallImfe

FPS, HOP, CLIP = 30.0, 6, 6
FRAMES = 240  # 8 s
MS = 1_000_000
RECORDING = Recording([np.zeros((8, 8, 3), np.uint8)], SourceInfo("camera", "image", True, FPS), FPS)


class Time:
    """A clock that the network's thread alone moves on; the camera's sleeps meanwhile.

    It stops at every moment until which the camera sleeps, and waits for it to hand its frame over and sleep again.
    Under policy block a camera may have to wait for room instead. Its stamps tell when a frame was due, whenever it is
    read: there it never sleeps.
    """

    def __init__(self, policy: PolicyName) -> None:
        self.now = 0
        self._until: int | None = None  # the camera sleeps; None while it is awake
        self._sleepless = policy == "block"
        self._changed = threading.Condition()

    def __call__(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        """The camera, until its next frame is due."""
        with self._changed:
            if not self._sleepless:
                self._until = until = self.now + round(seconds * 1e9)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self.now >= until)
                self._until = None

    def end(self) -> None:
        """The camera has no more frames."""
        with self._changed:
            self._sleepless = True
            self._changed.notify_all()

    def pass_by(self, ns: int) -> None:
        """The network is at work for so long."""
        with self._changed:
            end = self.now + ns
            while (next_frame := self._camera_sleeps()) is not None and next_frame <= end:
                self._go_on_to(next_frame)
            self._go_on_to(end)

    def wait_for_a_frame(self, idle: Callable[[], bool]) -> None:
        """The network has nothing to do, as long as it is ``idle``."""
        with self._changed:
            next_frame = self._camera_sleeps()
            if next_frame is not None and idle():
                self._go_on_to(next_frame)
                self._camera_sleeps()

    def _camera_sleeps(self) -> int | None:
        """Wait until it does; when it will wake, None if it never sleeps again."""
        self._changed.wait_for(lambda: self._sleepless or (self._until is not None and self._until > self.now))
        return None if self._sleepless else self._until

    def _go_on_to(self, moment: int) -> None:
        self.now = moment
        self._changed.notify_all()


class Camera(PacedSource):
    """Frames when they are due, of a simulated clock."""

    def __init__(self, time: Time, frames: int) -> None:
        super().__init__(RECORDING, frames, clock=time, sleep=time.sleep)
        self._time = time

    def read(self) -> Frame | None:
        frame = super().read()
        if frame is None:
            self._time.end()
        return frame


@dataclass
class Ran:
    """A run: its summary, its events, its report, and how many frames waited whenever the network took one."""

    summary: Summary
    keep: Keep
    report: dict[str, Any]
    waiting: list[int]

    def ages_ms(self, after_t: float = 0.0) -> list[float]:
        return [e.capture_to_result_ms for e in self.keep.events if isinstance(e, Features) and e.t >= after_t]


def overload(
    policy: PolicyName, folder: Path, *, ms: float = 60, fallback_ms: float | None = None, frames: int = FRAMES
) -> Ran:
    """``ms``: what a frame takes; ``fallback_ms``: what it takes with the smaller model, where there is one."""
    waiting: list[int] = []
    time = Time(policy)
    times = StageTimes(time)
    models = load_models(SmallImfe.make().save(folder / "imfe.onnx"), "none")

    def inside() -> int:
        counts = pipeline.account.snapshot()
        return int(counts["captured"] - counts["processed"] - sum(counts["dropped"].values()))

    def taking(step_ms: float) -> Recogniser:
        recogniser, _ = open_recogniser(models, observe=times.lap)
        step = recogniser.step

        def slowly(frame: Frame) -> list[Opinion]:
            waiting.append(inside() - 1)
            time.pass_by(round(step_ms * MS))
            return step(frame)

        recogniser.step = slowly  # type: ignore[method-assign]
        return recogniser

    recognisers = {"main": taking(ms)} | ({"fallback": taking(fallback_ms)} if fallback_ms else {})
    monitor = StageMonitor(Budgets.derive(FPS, HOP), times)
    keep, report = Keep(), ReportSink(monitor, folder=folder, clock=time)
    pipeline = Pipeline(
        Camera(time, frames),
        Lineup(recognisers),
        [keep, report],
        chosen=choose(policy, live=True, hop=HOP, clip_length=CLIP, fallback=fallback_ms is not None),
        times=times,
        monitor=monitor,
        clock=time,
    )
    take = pipeline._handover.take

    def take_in_time() -> Frame | None:
        time.wait_for_a_frame(idle=lambda: inside() == 0)
        return take()

    pipeline._handover.take = take_in_time  # type: ignore[method-assign]
    report.frames = pipeline.account.snapshot
    summary = pipeline.run()
    return Ran(summary, keep, report.report(), waiting)


def check_account(ran: Ran, offered: int = FRAMES) -> None:
    frames = ran.summary.frames
    assert frames["captured"] == frames["processed"] + sum(frames["dropped"].values()) == offered
    results = [event for event in ran.keep.events if isinstance(event, Features)]
    assert ran.summary.results == len(results)
    assert ran.report["frames"] == frames
    assert ran.report["stages"][WHOLE]["n"] == ran.summary.results


def test_block_loses_nothing_and_says_how_late_it_is(tmp_path: Path) -> None:
    """Shows that every frame is processed and every result is as late as the frames before it took, from when its frame
    was due (no coordinated omission), and that the report calls the run not steady."""
    ran = overload("block", tmp_path)
    check_account(ran)
    assert ran.summary.frames["processed"] == FRAMES
    assert ran.ages_ms() == [pytest.approx((i + 1) * 60 - i * 1000 / FPS, abs=0.01) for i in range(5, FRAMES, HOP)]
    assert max(ran.waiting) <= 3  # two in the queue, one in the capture thread's hand
    assert any(reason.startswith("not steady") for reason in ran.report["verdict"]["reasons"])
    assert ran.report["stages"][WHOLE]["misses"] == sum(age > 200 for age in ran.ages_ms())
    assert ran.report["stages"]["capture"]["max_ms"] > 200  # the wait is a camera's lateness


@pytest.mark.parametrize("policy", ["drop-oldest", "auto"])
def test_drop_oldest_gives_every_result_in_time(tmp_path: Path, policy: PolicyName) -> None:
    """Shows that the frames beyond what 60 ms allow go, one waits at most, and no result of those kept is late."""
    ran = overload(policy, tmp_path)
    check_account(ran)
    assert set(ran.summary.frames["dropped"]) == {"overload"}
    assert ran.summary.frames["processed"] == pytest.approx(FRAMES / FPS * 1000 / 60, rel=0.02)
    assert max(ran.waiting) <= 1
    assert max(ran.ages_ms()) <= 2 * 60  # one step to wait for, one of its own
    bins = ran.report["timeline"]["bins"]
    assert sum(one["dropped"].get("overload", 0) for one in bins) == ran.summary.frames["dropped"]["overload"]


def test_degrade_finds_a_level_that_keeps_the_budget_and_tells_every_step(tmp_path: Path) -> None:
    """Shows that after its changes results come in time again, and that each change is an event and in the report."""
    ran = overload("degrade", tmp_path)
    check_account(ran)
    changes = ran.keep.faults
    assert changes and {change.kind for change in changes} == {"degraded"}
    assert max(ran.ages_ms(after_t=(changes[-1].t or 0) + 0.5)) < 200
    assert max(ran.waiting) <= CLIP
    assert [fault["kind"] for fault in ran.report["faults"]] == [change.kind for change in changes]
    assert (tmp_path / "report.html").read_text().count("degraded: ") >= len(changes)


def test_auto_turns_to_the_smaller_model_where_one_was_given(tmp_path: Path) -> None:
    """Shows that with a fallback of 20 ms the run ends there, whole clips on time, once longer hops did not help."""
    ran = overload("auto", tmp_path, ms=100, fallback_ms=20, frames=600)
    check_account(ran, 600)
    *_, last = [fault for fault in ran.keep.faults if fault.kind == "degraded"]
    assert last.detail["after"] == {"hop": HOP, "model": "fallback", "waiting": CLIP}
    ages = ran.ages_ms(after_t=(last.t or 0) + 1)
    assert len(ages) > 10
    assert max(ages) <= 20


def test_a_network_so_slow_that_no_clip_is_ever_whole_degrades_too(tmp_path: Path) -> None:
    """Shows that frames torn apart by overload count as strained: at 700 ms a frame there is no result to be late."""
    ran = overload("degrade", tmp_path, ms=700, fallback_ms=20, frames=900)
    check_account(ran, 900)
    assert any(fault.detail["after"]["model"] == "fallback" for fault in ran.keep.faults if fault.kind == "degraded")
    assert ran.summary.results > 0


@pytest.mark.parametrize("policy", ["block", "drop-oldest", "degrade"])
def test_the_same_input_gives_the_same_decisions(tmp_path: Path, policy: PolicyName) -> None:
    """Shows that a run is a function of its input: every frame, result, change and age is the same again."""
    once, again = overload(policy, tmp_path), overload(policy, tmp_path)
    assert once.summary.frames == again.summary.frames
    assert once.ages_ms() == again.ages_ms()
    assert once.keep.faults == again.keep.faults


def test_a_run_is_replayed_by_its_observations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shows that the decisions of a run are a function of what was observed, and of nothing else."""
    observed: list[tuple[int, int, int]] = []
    decided: list[object] = []
    observe = Governor.observe

    def spy(governor: Governor, captured_ns: int, result_ns: int, lost: int) -> object:
        observed.append((captured_ns, result_ns, lost))
        decided.append(observe(governor, captured_ns, result_ns, lost))
        return decided[-1]

    monkeypatch.setattr(Governor, "observe", spy)
    overload("degrade", tmp_path)
    monkeypatch.undo()
    policy = choose("degrade", live=True, hop=HOP, clip_length=CLIP)
    again = Governor(policy, Budgets.derive(FPS, HOP).ns(WHOLE))
    assert any(decided)
    assert [again.observe(*one) for one in observed] == decided
